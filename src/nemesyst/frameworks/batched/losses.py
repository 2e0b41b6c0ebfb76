"""Losses of the rows of a batch, so that each entity's mean goes over the rows that it has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from nemesyst.errors import ModelError, SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = Callable[[Any, Tensor], Tensor]


def loss_of(given: str | Callable[..., Any]) -> Loss:
    """A loss of (outputs, targets) that gives one number for each row.

    Args:
        given: ``"mse"``, ``"mae"``, ``"huber"``, ``"cross_entropy"``; or a function of outputs and targets that gives
            their mean over rows, such as ``torch.nn.functional.mse_loss``.

    Raises:
        SettingsError: It is neither.
    """
    if isinstance(given, str):
        if given not in _NAMED:
            raise SettingsError(f"loss={given!r}", f"{nearest(given, list(_NAMED))}; or give a function.")
        return _NAMED[given]
    if not callable(given):
        raise SettingsError(f"loss={given!r:.80}", f"One of {', '.join(_NAMED)}, or a function of output and target.")

    def of_one(output: Any, target: Tensor) -> Tensor:
        if isinstance(output, torch.Tensor):
            output = output.unsqueeze(0)
        else:
            output = type(output)(each.unsqueeze(0) for each in output)
        found = given(output, target.unsqueeze(0))
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            raise ModelError(
                f"the loss gave {type(found).__name__} of shape {tuple(getattr(found, 'shape', ()))}, expected one "
                "number",
                "It takes output and target, and gives their mean over rows.",
            )
        return found.reshape(())

    return torch.vmap(of_one)


def _numbers(make: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    def loss(output: Any, target: Tensor) -> Tensor:
        tensor, rows = _tensor(output), len(target)
        if len(tensor) != rows or math.prod(tensor.shape[1:]) != math.prod(target.shape[1:]):
            raise ModelError(
                f"the model gives {tuple(tensor.shape[1:])} for a row, and its targets are {tuple(target.shape[1:])}",
                "Let it give one number for each target (and each step of the horizon).",
            )
        return make(tensor.reshape(rows, -1), target.to(tensor.dtype).reshape(rows, -1)).mean(1)

    return loss


def _classes(output: Any, target: Tensor) -> Tensor:
    tensor = _tensor(output)
    if target.is_floating_point() or tensor.dim() != target.dim() + 1:
        raise ModelError(
            f"cross_entropy: outputs of shape (rows, {', '.join(map(str, tensor.shape[1:]))}) for targets "
            f"{target.dtype} of shape (rows{''.join(f', {n}' for n in target.shape[1:])})",
            "It takes one target of whole numbers, and a score for each class.",
        )
    found = functional.cross_entropy(tensor.movedim(-1, 1), target, reduction="none")
    return found.reshape(len(target), -1).mean(1)


def _tensor(output: Any) -> Tensor:
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the model gives a {type(output).__name__}, expected one tensor",
            "Return the tensor from its forward, or give a loss function that takes what it returns.",
        )
    return output


_NAMED: dict[str, Loss] = {
    "mse": _numbers(lambda output, target: (output - target) ** 2),
    "mae": _numbers(lambda output, target: (output - target).abs()),
    "huber": _numbers(lambda output, target: functional.huber_loss(output, target, reduction="none")),
    "cross_entropy": _classes,
}
