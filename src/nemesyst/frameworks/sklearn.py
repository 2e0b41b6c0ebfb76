"""scikit-learn estimators, through skops: data and names of types, no pickle."""

from __future__ import annotations

import io
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, UntrustedError
from nemesyst.frameworks.base import Adapter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer

_KERNELS = (
    "CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "PairwiseKernel",
    "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel",
)  # fmt: skip

HARMLESS = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
        # compiled code follows the indices in these unchecked; sklearn_trees.py checks them
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types that skops does not trust by itself, and that hold numbers and do nothing when they are made."""


class SklearnAdapter(Adapter):
    """Any estimator that skops can store; types that are neither its own nor harmless need the reader's ``trust``."""

    name: ClassVar[str] = "sklearn"
    roots: ClassVar[tuple[str, ...]] = ("sklearn.base.BaseEstimator",)
    needs_target: ClassVar[bool] = False

    def version(self) -> str:
        """scikit-learn's version."""
        import sklearn

        return str(sklearn.__version__)

    def dump(self, model: Any) -> list[Buffer]:
        """One piece: a zip archive of numbers and names of types.

        Raises:
            ModelError: skops cannot store it.
        """
        skops = _skops()
        try:
            return [skops.dumps(model)]
        except Exception as error:  # skops raises whatever a member's __reduce__ or __getstate__ raises
            raise ModelError(
                f"skops cannot store this {type(model).__name__}: {error}",
                "Leave out what is no data: lambdas, open files, functions of your own.",
            ) from error

    def load(self, data: Buffer, into: Any = None, *, trust: Collection[str] = ()) -> Any:
        """Make the estimator again, after every type that it names was compared with the lists."""
        from nemesyst.frameworks.sklearn_trees import check_trees

        data = bytes(data)
        with _readable():
            _check_archive(data)
            unknown = set(_skops().get_untrusted_types(data=data))
        if refused := sorted(unknown - HARMLESS - set(trust)):
            raise UntrustedError(
                f"the artefact names types that could run code or follow unchecked indices: {', '.join(refused)}",
                f"If you know who saved it, pass trust={refused!r}.",
            )
        with _readable():
            model = _skops().loads(data, trusted=sorted(unknown))
            check_trees(model)
        return model if into is None else _put_into(model, into)

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """``model.predict(inputs)``, or ``model.transform(inputs)`` where there is no predict."""
        import numpy as np

        if hasattr(inputs, "items"):
            raise ModelError("scikit-learn takes one array of inputs, not several by name", "Give the feed one input.")
        if (method := getattr(model, "predict", None) or getattr(model, "transform", None)) is None:
            raise ModelError(f"{type(model).__name__} has neither predict nor transform", "Save an estimator that has.")
        return np.asarray(method(inputs))


def _skops() -> Any:
    try:
        import skops.io
    except ImportError:
        raise ModelError("models of scikit-learn need skops", "pip install 'nemesyst[sklearn]'") from None
    return skops.io


@contextmanager
def _readable() -> Iterator[None]:
    """Whatever a file that is not skops' own makes the reader raise, it is one thing: not readable."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise CorruptBlobError(
            f"not a readable skops archive: {error}", "If it was saved by another scikit-learn, use that version."
        ) from error


def _check_archive(data: bytes) -> None:
    """Refuse what skops never writes: compressed members (they can unpack to any size), paths, doubles."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if any("/" in name or "\\" in name or name.startswith(".") for name in names) or len(set(names)) != len(names):
        raise CorruptBlobError("the archive has members with paths or doubled names")
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or unpacked > len(data):
        raise CorruptBlobError(f"the archive of {len(data)} bytes has compressed members of {unpacked} bytes")


def _put_into(model: Any, into: Any) -> Any:
    if type(model) is not type(into):
        raise MismatchError(
            f"the stored model is a {type(model).__name__}, the one to load into a {type(into).__name__}",
            "Load without into=, or give one of the same class.",
        )
    into.__dict__.clear()
    into.__dict__.update(model.__dict__)
    return into
