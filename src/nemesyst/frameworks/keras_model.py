"""Keras 3 models on any backend: their variables, as a safetensors file; never ``keras.saving``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.keras_names import check_built, optimizer_variables, variables_of
from nemesyst.frameworks.leaves import bytes_of, copy_of, layout
from nemesyst.frameworks.tensors import check_fit, unpack, write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Contents, Layout

_CLASS = "optimizer"
"""Metadata: name of an optimiser's class."""

_COUNTERS = ("seed_generator_state", "iteration")
"""Variables of int32, uint32 or int64, as the backend has them."""


class KerasAdapter(Adapter):
    """A ``keras.Model`` or layer that has been built, on TensorFlow, PyTorch or JAX; one loads what another stored.

    What is stored is numbers with names, so the model to load into is always made by the reader's own code.
    """

    name: ClassVar[str] = "keras"
    roots: ClassVar[tuple[str, ...]] = ("keras.src.models.model.Model", "keras.src.layers.layer.Layer")
    needs_target: ClassVar[bool] = True

    def version(self) -> str:
        """Keras' version and its backend, such as ``"3.11.0 on jax"``."""
        import keras

        return f"{keras.__version__} on {keras.backend.backend()}"

    def dump(self, model: Any) -> Iterator[Buffer]:
        """One piece for the header and one for each variable."""
        return _dump(variables_of(model), {})

    def load(
        self,
        data: Buffer,
        into: Any = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> Any:
        """Assign the variables of the model, after every name, shape and dtype was compared."""
        if into is None:
            raise ModelError("weights of Keras need a model to go into", "Pass into=model, or build=a function.")
        contents, variables = unpack(data), variables_of(into)
        check_fit(*_sides(contents, variables))
        _assign(contents, variables)
        return into

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """``model(inputs, training=False)``, with the array or a dict of arrays."""
        import keras

        check_built(model)
        with _without_gradients():
            output = model(dict(inputs) if hasattr(inputs, "items") else inputs, training=False)
        if not keras.ops.is_tensor(output):
            raise ModelError(
                f"the model {model.name} returns a {type(output).__name__}, expected one tensor",
                "Give it one output, or call it in a predictor function.",
            )
        array: Array = keras.ops.convert_to_numpy(output)
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:
        """Every variable by its name within the model."""
        for name, variable in variables_of(model).items():
            yield name, _array(variable)

    def dump_optimizer(self, model: Any, optimizer: Any) -> Iterator[Buffer]:
        """The variables of the optimiser: iterations, learning rate, momenta."""
        _check_optimizer(optimizer)
        variables = optimizer_variables(optimizer, variables_of(model))
        return _dump(variables, {_CLASS: type(optimizer).__name__})

    def load_optimizer(self, data: Buffer, model: Any, optimizer: Any) -> Any:
        """Assign them in place; an optimiser that has not trained yet is built for the model's weights first."""
        _check_optimizer(optimizer)
        contents, weights = unpack(data), variables_of(model)
        if _CLASS not in contents.metadata:
            raise CorruptBlobError("not the state of an optimiser")
        if (kind := contents.metadata[_CLASS]) != type(optimizer).__name__:
            raise MismatchError(
                f"the stored optimiser is a {kind}, the one to restore a {type(optimizer).__name__}", f"Make a {kind}."
            )
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        variables = optimizer_variables(optimizer, weights)
        check_fit(*_sides(contents, variables), "optimiser's variables")
        _assign(contents, variables)
        return optimizer

    def to_onnx(self, model: Any, inputs: Array | Mapping[str, Array]) -> bytes:
        """By the exporter of the backend."""
        from nemesyst.frameworks.onnx_export import keras_to_onnx

        return keras_to_onnx(model, inputs)


def _dump(variables: Mapping[str, Any], metadata: Mapping[str, str]) -> Iterator[Buffer]:
    return write(_layouts(variables), metadata, lambda name: bytes_of(_array(variables[name])))


def _layouts(variables: Mapping[str, Any]) -> dict[str, Layout]:
    return {name: layout(name, str(each.dtype), each.shape) for name, each in variables.items()}


def _sides(contents: Contents, variables: Mapping[str, Any]) -> tuple[dict[str, Layout], dict[str, Layout]]:
    """What is stored and what is there; counters, whose whole numbers differ by backend, as they are there."""
    stored, there = dict(contents.layouts), _layouts(variables)
    for name, layout_ in there.items():
        if name in stored and name.rpartition("/")[2] in _COUNTERS and _whole(stored[name]) and _whole(layout_):
            stored[name] = replace(stored[name], dtype=layout_.dtype)
    return stored, there


def _whole(layout_: Layout) -> bool:
    return layout_.dtype[0] in "IU"


def _array(variable: Any) -> Array:
    import keras

    array: Array = keras.ops.convert_to_numpy(variable)
    return array


def _assign(contents: Contents, variables: Mapping[str, Any]) -> None:
    for name, variable in variables.items():
        array = copy_of(name, contents.layouts[name], contents.views[name])
        variable.assign(array.astype(str(variable.dtype)) if array.dtype.kind in "iu" else array)


def _check_optimizer(optimizer: Any) -> None:
    if not hasattr(optimizer, "variables") or not hasattr(optimizer, "iterations"):
        raise ModelError(
            f"optimizer is a {type(optimizer).__name__}, not an optimiser of Keras", "Pass model.optimizer."
        )


def _without_gradients() -> AbstractContextManager[Any]:
    import keras

    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
