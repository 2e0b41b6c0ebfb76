"""From a module of one entity to one that ``vmap`` can batch; what cannot be is refused by name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nemesyst.errors import ModelError
from nemesyst.frameworks.batched.layers import (
    DRAW,
    FleetConv1d,
    FleetDropout,
    FleetGRU,
    FleetLSTM,
    FleetRNN,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TWINS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: FleetLSTM,
    nn.GRU: FleetGRU,
    nn.RNN: FleetRNN,
    nn.Conv1d: FleetConv1d,
    nn.Dropout: FleetDropout,
}

_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_AS_THEY_ARE = (
    nn.Linear, nn.LayerNorm, nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool1d, nn.MaxPool1d,
    nn.AdaptiveAvgPool1d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softplus, nn.Softsign,
    nn.Tanhshrink, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU,
)  # fmt: skip


def check_modules(model: Any) -> None:
    """Refuse a model with a layer that cannot be batched over entities.

    Raises:
        ModelError: Names its place, its type and what is supported.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"a fleet trains modules of PyTorch, and its build function gave a {type(model).__name__}",
            "Return a torch.nn.Module; models of other frameworks are trained with @nm.learner(..., entities=...).",
        )
    for path, module in model.named_modules():
        if not _supported(module):
            kind = type(module)
            raise ModelError(
                f"{_place(model, path)} is a {kind.__module__.split('.modules')[0]}.{kind.__name__}, which a fleet "
                f"cannot train; it can: {', '.join(sorted(each.__name__ for each in (*_TWINS, *_AS_THEY_ARE)))}, and "
                "modules of your own that are made of these",
                "Use one of these, or train each model alone: @nm.learner(..., entities=...).",
            )
        for option, value, only in _options(module):
            if value != only:
                raise ModelError(
                    f"{_place(model, path)} is a {type(module).__name__} with {option}={value!r}; a fleet takes "
                    f"{option}={only!r} alone",
                    "Change it, or train each model alone: @nm.learner(..., entities=...).",
                )


def batchable(model: nn.Module) -> nn.Module:
    """A copy whose layers are such as ``vmap`` can batch; names and shapes of its parameters stay.

    Raises:
        ModelError: There is a layer that cannot be.
    """
    check_modules(model)
    made = copy.deepcopy(model)
    for module in made.modules():
        twin = _TWINS.get(type(module))
        if twin is not None:
            module.__class__ = twin
        if _drops(module):
            device = next((each.device for each in made.parameters()), None)
            module.register_buffer(DRAW, torch.zeros((), dtype=torch.int64, device=device), persistent=False)
    return made


def draws_of(model: nn.Module) -> list[str]:
    """Names of the buffers that decide on what is dropped."""
    return [name for name, _ in model.named_buffers() if name.rpartition(".")[2] == DRAW]


def _supported(module: nn.Module) -> bool:
    kind = type(module)
    if kind in _TWINS or kind in _AS_THEY_ARE or kind in _CONTAINERS:
        return True
    layers = [each for each in kind.__mro__ if each.__module__.startswith("torch.") and issubclass(each, nn.Module)]
    return layers[0] in _CONTAINERS and not kind.__module__.startswith("torch.")  # one of the user's own


def _drops(module: nn.Module) -> bool:
    return isinstance(module, FleetDropout) or (isinstance(module, nn.RNNBase) and module.dropout > 0)


def _options(module: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """Options that have one value here: name, its value, the value."""
    if isinstance(module, nn.LSTM):
        yield "proj_size", module.proj_size, 0


def _place(model: nn.Module, path: str) -> str:
    return f"{type(model).__name__}.{path}" if path else f"the model {type(model).__name__} itself"
