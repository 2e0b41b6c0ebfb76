"""ONNX models: the file itself, run by ONNX Runtime; a device needs that package and no other framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.onnx_check import check_onnx_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "string": "object",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""NumPy's name of each type of tensor."""


class OnnxModel:
    """An ONNX file, checked, with the session of ONNX Runtime that runs it.

    Args:
        data: The file.
        trust: Sets of operators beyond the standard that may be used, such as ``"com.microsoft"``; None: any.
        device: ``"cpu"``, or ``"gpu"`` with a build of ONNX Runtime that has CUDA.

    Attributes:
        data: The file, as given.
        inputs: Dtype and shape of each input by name; None is an axis of any size.
        outputs: The same of each output.
        session: The ``onnxruntime.InferenceSession``.

    Raises:
        CorruptBlobError: It is not a well-formed ONNX file; it names other files; the runtime cannot load it.
        UntrustedError: It asks for operators that are neither standard nor trusted.
        ModelError: ONNX Runtime is not installed, or has no such device.
    """

    def __init__(self, data: bytes, *, trust: Collection[str] | None = (), device: str = "cpu") -> None:
        check_onnx_file(memoryview(data), trust)
        self.data = data
        self.session = _session(data, device)
        self.inputs = {each.name: _layout(each) for each in self.session.get_inputs()}
        self.outputs = {each.name: _layout(each) for each in self.session.get_outputs()}

    def __repr__(self) -> str:
        return f"<OnnxModel {', '.join(self.inputs)} -> {', '.join(self.outputs)}, {len(self.data)} bytes>"

    def run(self, inputs: Array | Mapping[str, Array]) -> dict[str, Any]:
        """Every output by name, for an array (where there is one input) or arrays by name.

        Raises:
            ModelError: The inputs do not fit the model.
        """
        given = dict(inputs) if hasattr(inputs, "items") else {next(iter(self.inputs)): inputs}
        if set(given) != set(self.inputs):
            raise ModelError(
                f"the model takes {', '.join(self.inputs)}, given {', '.join(given)}", "Name the inputs as it does."
            )
        arrays = {name: _cast(name, array, self.inputs[name][0]) for name, array in given.items()}
        try:
            found = self.session.run(None, arrays)
        except Exception as error:  # the runtime's own classes: a wrong shape, no memory
            raise ModelError(f"ONNX Runtime: {_first_line(error)}", "Check the shapes of the inputs.") from error
        return dict(zip(self.outputs, found, strict=True))

    def proto(self) -> Any:
        """The ``onnx.ModelProto``; needs the package onnx."""
        return _onnx().ModelProto.FromString(self.data)

    def place(self, device: str) -> None:
        """Run on another device from now on: ``"cpu"``, ``"gpu"``, ``"gpu:1"``."""
        self.session = _session(self.data, device)


class OnnxAdapter(Adapter):
    """An ``onnx.ModelProto`` or an :class:`OnnxModel`; loaded, it is an :class:`OnnxModel`."""

    name: ClassVar[str] = "onnx"
    roots: ClassVar[tuple[str, ...]] = (
        "onnx.onnx_ml_pb2.ModelProto",
        "nemesyst.frameworks.onnx_model.OnnxModel",
        "onnxruntime.capi.onnxruntime_inference_collection.InferenceSession",
    )
    needs_target: ClassVar[bool] = False

    def version(self) -> str:
        """ONNX Runtime's version."""
        return str(_runtime().__version__)

    def dump(self, model: Any) -> list[Buffer]:
        """One piece: the file."""
        data = _bytes_of(model)
        try:
            check_onnx_file(memoryview(data), trust=None)
        except CorruptBlobError as error:
            raise ModelError(
                f"this ONNX model cannot be stored: {error.message}", "Load it with onnx.load(), weights and all."
            ) from error
        return [data]

    def load(self, data: Buffer, into: Any = None, *, trust: Collection[str] = ()) -> Any:
        """The model, ready to run, after the file was checked."""
        model = OnnxModel(bytes(data), trust=trust)
        return model if into is None else _put_into(model, into)

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """The one output of the model; inputs are cast to its dtypes."""
        if not isinstance(model, OnnxModel):
            model = OnnxModel(_bytes_of(model), trust=None)
        if len(model.outputs) != 1:
            raise ModelError(
                f"the model has the outputs {', '.join(model.outputs)}, expected one",
                "Call model.run(inputs) in a predictor function, which gives all by name.",
            )
        (output,) = model.run(inputs).values()
        if not isinstance(output, np.ndarray):
            raise ModelError(f"the model gives a {type(output).__name__}, expected an array", "Export it without maps.")
        return output

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:
        """The initialisers of the graph; needs the package onnx."""
        onnx = _onnx()
        proto = model if type(model).__name__ == "ModelProto" else onnx.ModelProto.FromString(_bytes_of(model))
        for tensor in proto.graph.initializer:
            yield tensor.name, onnx.numpy_helper.to_array(tensor)

    def place(self, model: Any, device: str) -> Any:
        """A session on the device."""
        if device != "cpu" and not isinstance(model, OnnxModel):
            model = OnnxModel(_bytes_of(model), trust=None)
        if isinstance(model, OnnxModel):
            model.place(device)
        return model


def _runtime() -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError("ONNX models need onnxruntime", "pip install 'nemesyst[onnx]'") from None
    return onnxruntime


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise ModelError("this needs the package onnx", "pip install 'nemesyst[onnx]'") from None
    return onnx


def _session(data: bytes, device: str) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised, and told by us
    options.add_session_config_entry("session.load_model_format", "ONNX")
    providers = _providers(runtime, device)
    try:
        return runtime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # the runtime's own classes for files that it cannot use
        raise CorruptBlobError(f"ONNX Runtime cannot load the model: {_first_line(error)}") from error


def _providers(runtime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind not in ("gpu", "cuda") or "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise ModelError(
            f"device={device!r}: this ONNX Runtime has {', '.join(runtime.get_available_providers())}",
            "Leave device out, or install a build for your device.",
        )
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


def _layout(value: Any) -> tuple[str, tuple[int | None, ...]]:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return kind, tuple(size if isinstance(size, int) else None for size in value.shape or ())


def _cast(name: str, array: Array, kind: str) -> Array:
    if kind not in _DTYPES:
        raise ModelError(f"the input {name} is {kind}, which NumPy has not", "Export the model with float32 inputs.")
    array, wanted = np.asarray(array), np.dtype(_DTYPES[kind])
    floating = array.dtype.kind in "iufb" if wanted.kind == "f" else array.dtype.kind in "iub" and wanted.kind in "iu"
    return array.astype(wanted) if floating and array.dtype != wanted else array


def _bytes_of(model: Any) -> bytes:
    if isinstance(model, OnnxModel):
        return model.data
    if type(model).__name__ == "InferenceSession":
        raise ModelError("a session of ONNX Runtime does not hold its file", "Give the model: onnx.load(path).")
    try:
        _onnx().checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
    except ModelError:
        raise
    except Exception as error:  # the checker's and the protocol buffers' own: an invalid model, one over 2 GB
        raise ModelError(
            f"this is not a valid ONNX model: {_first_line(error)}", "Check it with onnx.checker."
        ) from error
    return data


def _put_into(model: OnnxModel, into: Any) -> Any:
    if not isinstance(into, OnnxModel) and type(into).__name__ != "ModelProto":
        raise MismatchError(
            f"the stored model is an ONNX file, the one to load into a {type(into).__name__}", "Load without into=."
        )
    empty = type(into).__name__ == "ModelProto" and not into.HasField("graph")
    own = model if empty else into if isinstance(into, OnnxModel) else OnnxModel(_bytes_of(into), trust=None)
    if (model.inputs, model.outputs) != (own.inputs, own.outputs):
        raise MismatchError(
            f"the stored model takes {_told(model.inputs)} and gives {_told(model.outputs)}, the one to load into "
            f"takes {_told(own.inputs)} and gives {_told(own.outputs)}",
            "Load without into=.",
        )
    if isinstance(into, OnnxModel):
        into.__dict__.update(model.__dict__)
    else:
        into.ParseFromString(model.data)
    return into


def _told(layouts: Mapping[str, tuple[str, tuple[int | None, ...]]]) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, (kind, shape) in layouts.items())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
