"""XGBoost models: its own UBJSON behind a small header of ours; no pickle.

The bytes are 8 of length (little-endian), a JSON header with the name of the class and its parameters, and what
``Booster.save_raw("ubj")`` gives. Pickles of XGBoost, and ``xgboost_model`` files of other formats, are not read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.xgboost_check import NODE_ARRAYS, check_model, linear_weights, trees_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer

CLASSES = ("Booster", "XGBRegressor", "XGBClassifier", "XGBRanker", "XGBRFRegressor", "XGBRFClassifier")
"""What can be stored and made again."""

_HEADER_LIMIT = 10_000_000


class XGBoostAdapter(Adapter):
    """A ``Booster``, or one of XGBoost's estimators; training goes on with ``xgb_model=``.

    What was learned and the parameters of an estimator are kept; callbacks and functions (an objective of your own)
    are refused, since they are code.
    """

    name: ClassVar[str] = "xgboost"
    roots: ClassVar[tuple[str, ...]] = ("xgboost.core.Booster", "xgboost.sklearn.XGBModel")
    needs_target: ClassVar[bool] = False

    def version(self) -> str:
        """XGBoost's version."""
        return str(_xgboost().__version__)

    def dump(self, model: Any) -> Iterator[Buffer]:
        """One piece for the header and one for XGBoost's own bytes."""
        kind = type(model).__name__
        if kind not in CLASSES or not type(model).__module__.startswith("xgboost."):
            raise ModelError(
                f"a {kind} is none of {', '.join(CLASSES)}", "Store its booster: save(model.get_booster(), ...)."
            )
        payload = _raw(model)
        try:
            check_model(memoryview(payload))
        except CorruptBlobError as error:  # it would be refused when it is loaded
            raise ModelError(f"this {kind} cannot be stored: {error.message}", error.remedy) from error
        text = json.dumps({"class": kind, "params": _params(model)}, separators=(",", ":")).encode()
        yield len(text).to_bytes(8, "little") + text
        yield payload

    def load(
        self,
        data: Buffer,
        into: Any = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> Any:
        """Make the model again, after its structure was checked."""
        view = memoryview(data).cast("B")
        kind, params, payload = _unframe(view)
        check_model(payload)
        if into is not None and type(into).__name__ != kind:
            raise MismatchError(
                f"the stored model is a {kind}, the one to load into a {type(into).__name__}",
                "Load without into=, or give one of the same class.",
            )
        model = _made(kind, params, bytearray(payload))
        return model if into is None else _put_into(model, into, payload)

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """``model.predict`` of a float array of shape (rows, features); NaN, or ``missing=``, is a missing value."""
        if hasattr(inputs, "items"):
            raise ModelError("XGBoost takes one array of inputs, not several by name", "Give the feed one input.")
        booster = _booster(model)
        inputs = np.asarray(inputs)
        if inputs.ndim != 2 or inputs.shape[1] != booster.num_features():
            raise ModelError(
                f"the model takes (rows, {booster.num_features()}), given {inputs.shape}", "Check the feed's inputs."
            )
        if inputs.dtype.name not in ("float32", "float64"):
            inputs = inputs.astype(np.float32)
        try:
            return np.asarray(_predicted(model, booster, inputs))
        except Exception as error:  # XGBoostError, such as categories that were never seen
            raise ModelError(f"XGBoost cannot predict: {_first_line(error)}", "Check the inputs.") from error

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:
        """The arrays of each tree, such as ``trees/0/split_conditions``; or ``weights`` of a linear model."""
        payload = memoryview(_raw(model))
        for number, tree in enumerate(trees_of(payload)):
            for name in sorted({*NODE_ARRAYS, "base_weights", "leaf_weights", "categories"}.intersection(tree)):
                yield f"trees/{number}/{name}", tree[name].astype(tree[name].dtype.newbyteorder("="))
        if linear := linear_weights(payload):
            yield "weights", np.array(linear, np.float32)

    def place(self, model: Any, device: str) -> Any:
        """Set XGBoost's own ``device``: ``"cpu"``, ``"cuda"``, ``"cuda:1"``."""
        wanted = device.replace("gpu", "cuda")
        if wanted != "cpu" and not _xgboost().build_info().get("USE_CUDA"):
            raise ModelError(f"device={device!r}: this build of XGBoost knows the CPU alone", "Leave device out.")
        _booster(model).set_param({"device": wanted})
        if model is not _booster(model):
            model.device = wanted
        return model


def _xgboost() -> Any:
    try:
        import xgboost
    except ImportError:
        raise ModelError("models of XGBoost need xgboost", "pip install 'nemesyst[xgboost]'") from None
    return xgboost


def _booster(model: Any) -> Any:
    if type(model).__name__ == "Booster":
        return model
    try:
        return model.get_booster()
    except Exception as error:  # scikit-learn's NotFittedError, which is not imported here
        raise ModelError(f"this {type(model).__name__} is not trained yet", "Call fit() first.") from error


def _raw(model: Any) -> bytearray:
    booster = _booster(model)
    try:
        raw: bytearray = booster.save_raw("ubj")
    except Exception as error:  # XGBoostError: a booster without a round, or features
        raise ModelError(
            f"XGBoost cannot store this {type(model).__name__}: {_first_line(error)}", "Train it first."
        ) from error
    return raw


def _params(model: Any) -> dict[str, Any]:
    """The parameters of an estimator that were set, as JSON values."""
    if type(model).__name__ == "Booster":
        return {}
    given = {name: value for name, value in model.get_params(deep=False).items() if value is not None}
    return {name: _plain(name, value) for name, value in sorted(given.items())}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, each) for key, each in value.items()}
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    raise ModelError(
        f"the parameter {name} is a {type(value).__name__}, which is not data",
        f"Store it without: set_params({name}=None). Code of your own is given again where the model is used.",
    )


def _unframe(view: memoryview) -> tuple[str, dict[str, Any], memoryview]:
    try:
        return _header_of(view)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptBlobError(f"not a stored model of XGBoost: {error}") from None


def _header_of(view: memoryview) -> tuple[str, dict[str, Any], memoryview]:
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length > min(_HEADER_LIMIT, len(view) - 8):
        raise ValueError(f"a header of {length} bytes in {len(view)}")
    header = json.loads(bytes(view[8 : 8 + length]).decode())
    kind, params = header["class"], header["params"]
    if kind not in CLASSES or not isinstance(params, dict):
        raise ValueError(f"the class {kind!r} is none of {', '.join(CLASSES)}")
    if params.get("verbosity", 0) not in (0, 1, 2, 3):  # it would be set for the whole process
        raise ValueError(f"verbosity is {params['verbosity']!r}")
    return kind, params, view[8 + length :]


def _made(kind: str, params: dict[str, Any], payload: bytearray) -> Any:
    model_class = getattr(_xgboost(), kind)
    try:
        if kind == "Booster":
            return model_class(model_file=payload)
        model, names = _estimator(model_class, params)
        model.load_model(payload)
    except Exception as error:  # XGBoostError, and what its wrapper raises for parameters that do not fit
        raise CorruptBlobError(
            f"XGBoost cannot load this {kind}: {_first_line(error)}", "Use the version that saved it."
        ) from error
    for name in names:
        setattr(model, name, params.get(name))  # loading overwrote some with what they came to
    return model


def _estimator(model_class: Any, params: dict[str, Any]) -> tuple[Any, list[str]]:
    """An estimator that is not trained, and the names of its own parameters."""
    names = list(model_class().get_params(deep=False))
    if hidden := [name for name in params if name not in names and (name[:1] == "_" or hasattr(model_class, name))]:
        raise ValueError(f"{hidden[0]} is no parameter")
    return model_class(**params), names  # a name that the class does not know goes to XGBoost as it is


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _put_into(model: Any, into: Any, payload: memoryview) -> Any:
    if model.__class__.__name__ == "Booster":
        into.load_model(bytearray(payload))
    else:
        into.__dict__.clear()
        into.__dict__.update(model.__dict__)
    return into


def _predicted(model: Any, booster: Any, inputs: Array) -> Any:
    if model is not booster:
        return model.predict(inputs, validate_features=False)
    matrix = _xgboost().DMatrix(
        inputs, feature_names=booster.feature_names, feature_types=booster.feature_types, enable_categorical=True
    )
    best = booster.attr("best_iteration")  # where training stopped early, an estimator predicts up to there, too
    return booster.predict(matrix, iteration_range=(0, 0) if best is None else (0, int(best) + 1))
