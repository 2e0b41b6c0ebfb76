"""PyTorch modules: their state dict, as a safetensors file."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import torch_tensors as own
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.devices import no_device, parse_device
from nemesyst.frameworks.memory import AT_ONCE, release
from nemesyst.frameworks.tensors import check_fit, unpack, write
from nemesyst.frameworks.torch_state import is_plain, plain_names, state_of, ties

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import torch

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Contents

_TIED = "tied"
"""Metadata: a JSON object from the name of a tensor that is not stored to the one that it shares its memory with."""


class TorchAdapter(Adapter):
    """A ``torch.nn.Module``: parameters and buffers, each tied tensor once, dtypes kept.

    A compiled or data-parallel module is stored under the names of the plain one, so that either loads into either.
    """

    name: ClassVar[str] = "torch"
    roots: ClassVar[tuple[str, ...]] = ("torch.nn.modules.module.Module",)
    needs_target: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def version(self) -> str:
        """PyTorch's version."""
        import torch

        return str(torch.__version__)

    def ready(self, model: torch.nn.Module) -> torch.nn.Module:
        """Evaluation mode; training goes on with ``model.train()``."""
        return model.eval() if hasattr(model, "eval") else model

    def dump(self, model: torch.nn.Module) -> Iterator[Buffer]:
        """One piece for the header and one for each tensor."""
        state = state_of(model)
        layouts = {name: own.layout_of(name, tensor) for name, tensor in state.items()}
        tied = ties(state)
        metadata = {_TIED: json.dumps(tied)} if tied else {}
        stored = {name: layout for name, layout in layouts.items() if name not in tied}
        return write(stored, metadata, lambda name: own.bytes_of(state[name]))

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
        contents = unpack(data)
        tied = _stored_ties(contents)
        target = state_of(into)
        layouts = contents.layouts | {name: contents.layouts[first] for name, first in tied.items()}
        check_fit(layouts, {name: own.layout_of(name, tensor) for name, tensor in target.items()})
        views = contents.views | {name: contents.views[first] for name, first in tied.items()}
        same = ties(target)
        _check_ties(views, same, tied)
        if is_plain(into):
            for name in target.keys() - same.keys():
                own.fill(target[name], layouts[name], views[name])
        else:
            names = plain_names(into, state := into.state_dict())
            copies = {name: own.copy_of(contents.layouts[name], view) for name, view in contents.views.items()}
            state.update({name: copies[tied.get(plain, plain)] for name, plain in names.items()})
            _load_by_the_module(into, state)
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
        return own.array_of(output)

    def weights(self, model: torch.nn.Module) -> Iterator[tuple[str, Array]]:
        """Parameters and buffers under plain names; bfloat16 and float8 as float32."""
        for name, tensor in state_of(model).items():
            own.layout_of(name, tensor)
            yield name, own.array_of(tensor)

    def place(self, model: torch.nn.Module, device: str) -> torch.nn.Module:
        """Move the module in place; ``"gpu"`` is the accelerator that PyTorch finds, CUDA or another."""
        return model.to(_device(device))

    def dump_optimizer(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Buffer]:
        """State tensors and parameter groups of a ``torch.optim.Optimizer``."""
        from nemesyst.frameworks.torch_optimizer import dump

        return dump(model, optimizer)

    def load_optimizer(
        self, data: Buffer, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> torch.optim.Optimizer:
        """Restore them in place, each state beside its parameter."""
        from nemesyst.frameworks.torch_optimizer import load

        return load(data, model, optimizer)

    def to_onnx(self, model: torch.nn.Module, inputs: Array | Mapping[str, Array]) -> bytes:
        """By ``torch.onnx``."""
        from nemesyst.frameworks.onnx_export import torch_to_onnx

        return torch_to_onnx(model, inputs)


def _stored_ties(contents: Contents) -> dict[str, str]:
    try:
        tied = json.loads(contents.metadata.get(_TIED, "{}"))
        sound = all(name not in contents.layouts and first in contents.layouts for name, first in tied.items())
    except (ValueError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptBlobError("the list of tied tensors does not fit the tensors")
    return dict(tied)


def _check_ties(views: Mapping[str, memoryview], same: Mapping[str, str], tied: Mapping[str, str]) -> None:
    """Refuse to put two different tensors into one memory, where the last would win."""
    for name, first in same.items():
        if tied.get(name, name) != tied.get(first, first) and not _equal(views[name], views[first]):
            raise MismatchError(
                f"{first} and {name} are tied in the model, but were stored with different values",
                "Load into a model that does not tie them.",
            )


def _equal(one: memoryview, other: memoryview) -> bool:
    for begin in range(0, len(one), AT_ONCE):
        pieces = one[begin : begin + AT_ONCE], other[begin : begin + AT_ONCE]
        equal = np.array_equal(np.frombuffer(pieces[0], np.uint8), np.frombuffer(pieces[1], np.uint8))
        for piece in pieces:
            release(piece)
        if not equal:
            return False
    return True


def _load_by_the_module(into: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Let hooks and methods of the module's own do the loading; the tensors are theirs to change."""
    try:
        into.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise MismatchError(
            f"{type(into).__name__}.load_state_dict refused the weights: {error}",
            "Its own hooks decide here; build it as it was when it was saved.",
        ) from error


def _device(device: str) -> torch.device:
    import torch

    kind, number = parse_device(device)
    if kind == "cpu":
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = 0 if found is None else torch.accelerator.device_count()
    if found is None or kind not in ("gpu", found.type) or (number or 0) >= count:
        raise no_device(device, ["cpu", *(f"gpu:{n}" for n in range(count))])
    return torch.device(found.type, number or 0)


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

    held: list[Any] = list(chain(model.parameters(), model.buffers()))
    tensor = torch.tensor(array, device=held[0].device if held else None)  # copies: a module may work in place
    floating = next((one.dtype for one in held if one.is_floating_point()), tensor.dtype)
    return tensor.to(floating) if tensor.is_floating_point() else tensor
