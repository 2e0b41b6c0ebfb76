"""What an optimiser does at the moment: learning rates and the size of the gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nemesyst.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def pace(optimizer: Any) -> dict[str, float]:
    """Learning rates and the norm of the gradients, by the names that they are logged under.

    Args:
        optimizer: Of PyTorch, of Keras, or a state of optax that was made with ``inject_hyperparams``.

    Returns:
        ``"lr"``, or ``"lr/0"``, ``"lr/1"``... where groups of parameters have several; and ``"gradient_norm"``, the
        2-norm over all gradients, where the parameters hold any at the moment (PyTorch, before ``zero_grad``).

    Raises:
        ModelError: It has no learning rate.
    """
    groups = getattr(optimizer, "param_groups", None)
    if isinstance(groups, list):
        return _of_torch(groups)
    hyper = getattr(optimizer, "hyperparams", None) or {}
    rate = getattr(optimizer, "learning_rate", None) if "learning_rate" not in hyper else hyper["learning_rate"]
    try:
        return {"lr": _number(rate)}
    except (TypeError, ValueError):
        raise ModelError(
            f"a {type(optimizer).__module__}.{type(optimizer).__qualname__} tells no learning rate",
            "Give an optimiser of PyTorch or Keras, or log it yourself: run.log({'lr': rate}).",
        ) from None


def _number(value: Any) -> float:
    """A float out of a number, or a variable or tensor of any backend."""
    if hasattr(value, "numpy"):  # a variable of Keras, wherever it is
        value = value.numpy()
    elif hasattr(value, "value") and not callable(value.value):
        value = value.value
    return float(value.detach() if hasattr(value, "detach") else value)


def _of_torch(groups: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    groups = list(groups)
    rates = [float(group["lr"]) for group in groups if "lr" in group]
    found = {"lr": rates[0]} if len(set(rates)) == 1 else {f"lr/{number}": rate for number, rate in enumerate(rates)}
    gradients = [each.grad for group in groups for each in group["params"] if getattr(each, "grad", None) is not None]
    if gradients:
        found["gradient_norm"] = _norm(gradients)
    return found


def _norm(gradients: Iterable[Any]) -> float:
    """The 2-norm over all of them; each device is waited for once."""
    squares: dict[Any, Any] = {}
    for each in gradients:
        squares[each.device] = squares.get(each.device, 0.0) + each.detach().float().norm().double().square()
    return math.sqrt(sum(float(each) for each in squares.values()))
