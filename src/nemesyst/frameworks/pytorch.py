"""PyTorch modules: their state dict, as a safetensors file."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.tensors import Layout, check_fit, header, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import torch

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Contents

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""Torch's name of each dtype."""

_NAMES = {torch_name: name for name, torch_name in DTYPES.items()}
_TIED = "tied"
"""Metadata: a JSON object from the name of a tensor that is not stored to the one that it shares its memory with."""


class TorchAdapter(Adapter):
    """A ``torch.nn.Module``: parameters and buffers, each tied tensor once, dtypes kept."""

    name: ClassVar[str] = "torch"
    roots: ClassVar[tuple[str, ...]] = ("torch.nn.modules.module.Module",)
    needs_target: ClassVar[bool] = True

    def version(self) -> str:
        """PyTorch's version."""
        import torch

        return str(torch.__version__)

    def ready(self, model: torch.nn.Module) -> torch.nn.Module:
        """Evaluation mode; training goes on with ``model.train()``."""
        return model.eval() if hasattr(model, "eval") else model

    def dump(self, model: torch.nn.Module) -> Iterator[Buffer]:
        """One piece for the header and one for each tensor."""
        state = model.state_dict()
        layouts = {name: _layout(name, tensor) for name, tensor in state.items()}
        tied = _ties(state)
        metadata = {_TIED: json.dumps(tied)} if tied else {}
        first, order = header({name: layout for name, layout in layouts.items() if name not in tied}, metadata)
        yield first
        for name in order:
            yield _bytes_of(state[name])

    def load(
        self,
        data: Buffer,
        into: torch.nn.Module | None = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> torch.nn.Module:
        """Copy the tensors into the module, wherever it is, after every name, shape and dtype was compared."""
        if into is None:
            raise ModelError("weights of PyTorch need a module to go into", "Pass into=module, or build=a function.")
        contents = unpack(bytearray(data) if memoryview(data).readonly else data)
        tied = _stored_ties(contents)
        target = into.state_dict()
        layouts = contents.layouts | {name: contents.layouts[first] for name, first in tied.items()}
        check_fit(layouts, {name: _layout(name, tensor) for name, tensor in target.items()})
        tensors = {name: _tensor(view, contents.layouts[name]) for name, view in contents.views.items()}
        tensors |= {name: tensors[first] for name, first in tied.items()}
        _check_ties(tensors, _ties(target))
        # a copy of the target's own (ordered) dict keeps the versions that torch notes in it
        state = target.copy()
        state.update(tensors)
        into.load_state_dict(state)
        return into

    def predict(self, model: torch.nn.Module, inputs: Array | Mapping[str, Array]) -> Array:
        """Call the module with the array, or with the arrays by name; floating inputs get the module's own dtype."""
        import torch

        with _evaluating(model), torch.inference_mode():
            if hasattr(inputs, "items"):
                output = model(**{name: _input(model, array) for name, array in inputs.items()})
            else:
                output = model(_input(model, inputs))
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the module {type(model).__name__} returns a {type(output).__name__}, expected one tensor",
                "Return the tensor from its forward, or call the module in a predictor function.",
            )
        output = output.detach().cpu()
        array: Array = (output.float() if _name_of(output) not in _NUMPY_HAS else output).numpy()
        return array


_NUMPY_HAS = {name for name in _NAMES if not name.startswith(("bfloat", "float8"))} | {"complex128"}


def _name_of(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _layout(name: str, tensor: object) -> Layout:
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise ModelError(
            f"{name} in the state dict is a {type(tensor).__name__}, not a tensor", "Keep it in args=, or in a buffer."
        )
    if torch.nn.parameter.is_lazy(tensor) or tensor.device.type == "meta":
        raise ModelError(f"{name} has no values yet", "Run the module once, so that its parameters are made.")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ModelError(f"{name} is sparse or quantized", "Make it dense (tensor.to_dense(), tensor.dequantize()).")
    if (dtype := _NAMES.get(_name_of(tensor))) is None:
        raise ModelError(f"{name} has dtype {tensor.dtype}", f"These can be stored: {', '.join(_NAMES)}.")
    return Layout(dtype, tuple(tensor.shape))


def _ties(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """From each tensor that is the same memory in the same way as an earlier one, to that one."""
    first: dict[tuple[Any, ...], str] = {}
    tied = {}
    for name, tensor in state.items():
        if tensor.numel() == 0:
            continue
        same = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj())
        if (earlier := first.setdefault(same, name)) != name:
            tied[name] = earlier
    return tied


def _stored_ties(contents: Contents) -> dict[str, str]:
    try:
        tied = json.loads(contents.metadata.get(_TIED, "{}"))
        sound = all(name not in contents.layouts and first in contents.layouts for name, first in tied.items())
    except (ValueError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptBlobError("the list of tied tensors does not fit the tensors")
    return dict(tied)


def _check_ties(tensors: Mapping[str, torch.Tensor], tied: Mapping[str, str]) -> None:
    """Refuse to put two different tensors into one memory, where the last would win."""
    import torch

    for name, first in tied.items():
        one, other = (tensors[each].reshape(-1).view(torch.uint8) for each in (name, first))
        if not torch.equal(one, other):
            raise MismatchError(
                f"{first} and {name} are tied in the model, but were stored with different values",
                "Load into a model that does not tie them.",
            )


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _tensor(view: memoryview, layout: Layout) -> torch.Tensor:
    import torch

    dtype = getattr(torch, DTYPES[layout.dtype])
    if not view:
        return torch.empty(layout.shape, dtype=dtype)
    return torch.frombuffer(view, dtype=dtype).reshape(layout.shape)


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _input(model: torch.nn.Module, array: Array) -> torch.Tensor:
    import torch

    held = list(chain(model.parameters(), model.buffers()))
    tensor = torch.tensor(array, device=held[0].device if held else None)  # copies: a module may work in place
    floating = next((own.dtype for own in held if own.is_floating_point()), tensor.dtype)
    return tensor.to(floating) if tensor.is_floating_point() else tensor
