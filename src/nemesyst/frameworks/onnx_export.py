"""The ONNX form of models of other frameworks, made by those frameworks' own exporters, and compared with the model.

Exporters print and warn much about their own insides; that is kept quiet. What they get wrong is found by running
what they made, on another number of rows than they saw.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError
from nemesyst.frameworks.onnx_compare import check_onnx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.frameworks.base import Array

    Inputs = Array | Mapping[str, Array]

_OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Versions of the operators that skl2onnx knows for every estimator."""

_LOGGERS = (
    "torch.onnx", "torch.fx", "torch._dynamo", "tf2onnx", "skl2onnx", "onnxscript", "onnx_ir", "tensorflow", "absl",
)  # fmt: skip


def torch_to_onnx(module: Any, inputs: Inputs) -> bytes:
    """A PyTorch module as an ONNX file, with an input for each array (or ``inputs``) and one ``output``.

    The exporter that traces one run is tried first (0.1 s); where it warns that the trace depends on the values, or
    fails, the one that reads the code (some seconds, and the package onnxscript).

    Args:
        module: The module; its mode is left as it was.
        inputs: A batch like those that it will get; floating ones have the module's dtype already.

    Raises:
        ModelError: It cannot be exported; says why.
    """
    import torch

    _needs("onnx")
    named = dict(inputs) if hasattr(inputs, "items") else {"inputs": inputs}
    held = next(iter([*module.parameters(), *module.buffers()]), None)
    tensors = {name: torch.tensor(_several(array), device=_device(held)) for name, array in named.items()}
    floating = held.dtype if held is not None and held.is_floating_point() else None
    tensors = {name: each.to(floating) if each.is_floating_point() else each for name, each in tensors.items()}
    kwargs = tensors if hasattr(inputs, "items") else {}
    args = () if kwargs else (tensors["inputs"],)
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            data = _traced(module, args, kwargs) or _read_from_code(module, args, kwargs)
    finally:
        for each, training in modes:
            each.training = training
    return _plain(data)


def keras_to_onnx(model: Any, inputs: Inputs) -> bytes:
    """A Keras model, on TensorFlow or PyTorch, as an ONNX file.

    Raises:
        ModelError: It cannot be exported, or the backend is JAX without the package jax2onnx.
    """
    import keras

    backend = keras.backend.backend()
    _needs("onnx", *{"tensorflow": ["tf2onnx"]}.get(backend, []))
    if backend not in ("tensorflow", "torch") and not _has("jax2onnx"):
        raise ModelError(
            f"Keras on {backend} has no exporter to ONNX",
            "Load the weights in a process with KERAS_BACKEND=tensorflow or torch, and save from there.",
        )
    with tempfile.TemporaryDirectory() as folder, _quiet("Keras cannot export this model"):
        model(dict(inputs) if hasattr(inputs, "items") else inputs, training=False)  # the exporter wants it called
        path = Path(folder) / "model.onnx"
        model.export(str(path), format="onnx", verbose=False)
        data = path.read_bytes()
    return _plain(data, sorted(inputs) if hasattr(inputs, "items") else None)


def sklearn_to_onnx(estimator: Any, inputs: Inputs) -> bytes:
    """A scikit-learn estimator as an ONNX file whose output is that of ``predict`` (or ``transform``).

    Numbers are float32 in it: near a threshold of a tree, an estimator that was trained on float64 may decide
    differently, so train on float32, as feeds give it.

    Raises:
        ModelError: It cannot be exported, or takes several inputs.
    """
    if hasattr(inputs, "items"):
        raise ModelError("scikit-learn takes one array of inputs, not several by name", "Give the feed one input.")
    _needs("onnx", "skl2onnx")
    import skl2onnx  # type: ignore[import-untyped]

    with _quiet(f"skl2onnx cannot export this {type(estimator).__name__}"):
        options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
        sample = np.asarray(inputs)[:1].astype(np.float32)
        proto = skl2onnx.to_onnx(estimator, sample, options=options, target_opset=_OPSETS)
        del proto.graph.output[1:]  # labels come first, probabilities after
        given = getattr(estimator, "predict", None) or estimator.transform
        if np.ndim(given(sample)) == 1:
            _flatten_output(proto.graph)  # skl2onnx gives one target as a column
        data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _traced(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """What the tracing exporter makes; None where it fails, or where the trace holds for these values alone."""
    import torch

    names = list(kwargs) or ["inputs"]
    axes = {name: {0: "batch"} for name in [*names, "output"]}
    target, exporter, warning = io.BytesIO(), _any(torch.onnx), _any(torch.jit).TracerWarning
    try:
        with _quiet(""), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", warning)
            exporter.export(
                module, (kwargs,) if kwargs else args, target, input_names=names, output_names=["output"],
                dynamic_axes=axes, dynamo=False,
            )  # fmt: skip
            if any(_depends_on_values(each) for each in told):
                return None
            run = {name: each[:1].cpu().numpy() for name, each in (kwargs or {"inputs": args[0]}).items()}
            expected = module(**{name: each[:1] for name, each in kwargs.items()}) if kwargs else module(args[0][:1])
            check_onnx(expected.float().cpu().numpy(), target.getvalue(), run, 1e-3)
    except ModelError:  # whatever it was: the other exporter says what is wrong
        return None
    return target.getvalue()


def _depends_on_values(told: warnings.WarningMessage) -> bool:
    """Whether a warning says that code of the user's (PyTorch's own only checks shapes) took a branch by a value."""
    import torch

    own = str(Path(torch.__file__).parent)
    return issubclass(told.category, _any(torch.jit).TracerWarning) and not told.filename.startswith(own)


def _read_from_code(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    import torch

    _needs("onnxscript")
    batch = {0: torch.export.Dim("batch")}
    shapes: Any = dict.fromkeys(kwargs, batch) if kwargs else (batch,)
    with _quiet(f"PyTorch cannot export this {type(module).__name__}"):
        program = _any(torch.onnx).export(
            module, args, kwargs=kwargs or None, input_names=list(kwargs) or ["inputs"], output_names=["output"],
            dynamic_shapes=shapes, dynamo=True, verbose=False,
        )  # fmt: skip
        data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def _plain(data: bytes, names: list[str] | None = None) -> bytes:
    """The file without what tells of the machine that made it; with inputs of these names, in this order."""
    import onnx

    proto = onnx.ModelProto.FromString(data)
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # stacks with the paths of source files
        node.ClearField("doc_string")
    given = [each.name for each in proto.graph.input]
    if names is not None and set(given) != set(names) and len(given) == len(names):
        _rename(proto.graph, dict(zip(given, names, strict=True)))
    plain: bytes = proto.SerializeToString(deterministic=True)
    return plain


def _flatten_output(graph: Any) -> None:
    """Let the one output of a graph have shape (rows,)."""
    from onnx import helper, numpy_helper

    output = graph.output[0]
    if len(output.type.tensor_type.shape.dim) < 2:
        return
    flat = helper.make_tensor_value_info("output", output.type.tensor_type.elem_type, [None])
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "one_axis"))
    graph.node.append(helper.make_node("Reshape", [output.name, "one_axis"], [flat.name]))
    output.CopyFrom(flat)


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in graph.input:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for attribute in node.attribute:  # the bodies of loops and branches see the names of the graph around them
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                _rename(inner, names)


def _several(array: Array) -> Array:
    """Two rows at least: exporters take an axis of one for a fixed one."""
    array = np.asarray(array)
    return array if len(array) > 1 else np.concatenate([array, array])


def _device(held: Any) -> Any:
    return None if held is None else held.device


def _any(module: Any) -> Any:
    """A module whose annotations leave out what it has."""
    return module


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _needs(*packages: str) -> None:
    if missing := [package for package in packages if not _has(package)]:
        raise ModelError(f"an ONNX form needs {', '.join(missing)}", "pip install 'nemesyst[onnx-export]'")


@contextmanager
def _quiet(failing: str) -> Iterator[None]:
    """Keep an exporter's own messages back; whatever it raises is one error."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    except ModelError:
        raise
    except Exception as error:  # every exporter has errors of its own
        raise ModelError(f"{failing}: {_first_cause(error)}", "Save without also='onnx'.") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0][:300]
