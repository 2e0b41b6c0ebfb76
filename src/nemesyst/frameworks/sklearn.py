"""scikit-learn estimators, through skops: data and names of types, no pickle."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, UntrustedError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.sklearn_archive import View, learned_arrays, plain_archive
from nemesyst.frameworks.sklearn_checks import check_archive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer

_KERNELS = (
    "CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "PairwiseKernel",
    "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel",
)  # fmt: skip

_METRICS = (
    *(f"_regression.{name}" for name in ("explained_variance_score", "max_error", "mean_absolute_error",
      "mean_absolute_percentage_error", "mean_squared_error", "median_absolute_error", "r2_score",
      "root_mean_squared_error")),
    *(f"_classification.{name}" for name in ("accuracy_score", "balanced_accuracy_score", "f1_score", "log_loss",
      "precision_score", "recall_score")),
    *(f"_ranking.{name}" for name in ("average_precision_score", "roc_auc_score")),
    "_scorer._PassthroughScorer", "_scorer._Scorer",
)  # fmt: skip

_SPLITTERS = (
    "GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut", "PredefinedSplit", "RepeatedKFold",
    "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold", "StratifiedShuffleSplit",
    "TimeSeriesSplit",
)  # fmt: skip

HARMLESS = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
        *(f"sklearn.metrics.{name}" for name in _METRICS),
        *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
        # compiled code follows the indices in these unchecked; sklearn_trees.py checks them
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""What skops does not trust by itself, and that holds numbers and does nothing when it is made, or only computes."""


class SklearnAdapter(Adapter):
    """Any estimator that skops can store; types that are neither its own nor harmless need the reader's ``trust``."""

    name: ClassVar[str] = "sklearn"
    roots: ClassVar[tuple[str, ...]] = ("sklearn.base.BaseEstimator",)
    needs_target: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def version(self) -> str:
        """scikit-learn's version."""
        import sklearn

        return str(sklearn.__version__)

    def dump(self, model: Any) -> Iterator[Buffer]:
        """A zip archive of numbers and names of types: a piece for each array, and one for what they belong to.

        Raises:
            ModelError: skops cannot store it.
        """
        skops, kept = _skops(), _Kept()
        try:
            skops.dump(model, kept)
        except Exception as error:  # skops raises whatever a member's __reduce__ or __getstate__ raises
            raise ModelError(
                f"skops cannot store this {type(model).__name__}: {error}",
                "Leave out what is no data: lambdas, open files, functions of your own.",
            ) from error
        return plain_archive(kept.data)

    def load(self, data: Buffer, into: Any = None, *, trust: Collection[str] = ()) -> Any:
        """Make the estimator again, after every type that it names was compared with the lists."""
        from nemesyst.frameworks.sklearn_trees import check_trees

        with _readable():
            check_archive(data)
            unknown = set(_skops().get_untrusted_types(file=View(data)))
        if refused := sorted(unknown - HARMLESS - set(trust)):
            raise UntrustedError(
                f"the artefact names types that could run code or follow unchecked indices: {', '.join(refused)}",
                f"If you know who saved it, pass trust={refused!r}.",
            )
        with _readable():
            model = _skops().load(View(data), trusted=sorted(unknown))
            check_trees(model)
        return model if into is None else _put_into(model, into)

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """``model.predict(inputs)``, or ``model.transform(inputs)`` where there is no predict."""
        import numpy as np

        if hasattr(inputs, "items"):
            raise ModelError("scikit-learn takes one array of inputs, not several by name", "Give the feed one input.")
        if (method := getattr(model, "predict", None) or getattr(model, "transform", None)) is None:
            raise ModelError(f"{type(model).__name__} has neither predict nor transform", "Save an estimator that has.")
        try:
            return np.asarray(method(inputs))
        except Exception as error:  # scikit-learn has no class of its own for inputs that do not fit
            raise ModelError(
                f"{type(model).__name__} cannot predict: {str(error).partition(chr(10))[0]}",
                "Check the shapes of the inputs.",
            ) from error

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:
        """Every array by its path, such as ``coef_`` or ``estimators_/0/tree_/nodes/threshold``."""
        kept = _Kept()
        _skops().dump(model, kept)
        return learned_arrays(kept.data)

    def to_onnx(self, model: Any, inputs: Array | Mapping[str, Array]) -> bytes:
        """Through skl2onnx; labels alone, where a classifier has probabilities too."""
        from nemesyst.frameworks.onnx_export import sklearn_to_onnx

        return sklearn_to_onnx(model, inputs)


class _Kept:
    """A file that keeps what is written to it in one go, as skops does, without a copy."""

    data: Buffer = b""

    def write(self, data: Buffer) -> None:
        self.data = data


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


def _put_into(model: Any, into: Any) -> Any:
    if type(model) is not type(into):
        raise MismatchError(
            f"the stored model is a {type(model).__name__}, the one to load into a {type(into).__name__}",
            "Load without into=, or give one of the same class.",
        )
    into.__dict__.clear()
    into.__dict__.update(model.__dict__)
    return into
