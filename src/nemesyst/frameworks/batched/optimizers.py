"""Optimisers whose steps each entity makes for itself: on parameters stacked along the first axis, they are the same.

The formulas are those of ``torch.optim``; an entity that has no batch in a step keeps its parameters, its moments and
its count of steps.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from nemesyst.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Stepper(ABC):
    """An optimiser of stacked parameters.

    Args:
        parameters: By name, each of shape (entities, ...).
        learning_rate: Step size.
    """

    def __init__(self, parameters: dict[str, Tensor], learning_rate: float) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        first = next(iter(parameters.values()))
        self.steps = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        self.kept: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, active: Tensor | None) -> None:
        """Make a step with the parameters' gradients, which are dropped.

        Args:
            active: Which entities make one, bool of shape (entities,); None: all.
        """
        self.steps += 1 if active is None else active
        for name, values in self.parameters.items():
            if values.grad is None:
                continue
            states = self.kept.setdefault(name, self.begin(values))
            before = None if active is None else {key: each.clone() for key, each in states.items()}
            changed = self.change(values, values.grad, states)
            if active is None or before is None:
                values.sub_(changed)
            else:
                values.sub_(torch.where(_over(active, values), changed, 0.0))
                for key, each in states.items():
                    each.copy_(torch.where(_over(active, each), each, before[key]))
            values.grad = None

    def keep(self, rows: Tensor, parameters: dict[str, Tensor]) -> None:
        """Go on with some of the entities alone.

        Args:
            rows: Their indices.
            parameters: Their parameters.
        """
        self.parameters = parameters
        self.steps = self.steps[rows]
        self.kept = {name: {key: each[rows] for key, each in states.items()} for name, states in self.kept.items()}

    @abstractmethod
    def begin(self, values: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter, before the first step."""

    @abstractmethod
    def change(self, values: Tensor, grad: Tensor, states: dict[str, Tensor]) -> Tensor:
        """What is taken away from a parameter; changes its states (and with weight decay of AdamW, nothing else)."""


class Sgd(Stepper):
    """``torch.optim.SGD``."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        learning_rate: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self._momentum, self._dampening = momentum, dampening
        self._decay, self._nesterov = weight_decay, nesterov

    def begin(self, values: Tensor) -> dict[str, Tensor]:
        """See :meth:`Stepper.begin`."""
        return {"moved": torch.zeros_like(values)} if self._momentum else {}

    def change(self, values: Tensor, grad: Tensor, states: dict[str, Tensor]) -> Tensor:
        """See :meth:`Stepper.change`."""
        if self._decay:
            grad = grad + self._decay * values
        if self._momentum:
            first = _over(self.steps <= 1, values)  # an entity's first step is not damped
            share = torch.where(first, 1.0, 1 - self._dampening).to(values.dtype)
            moved = states["moved"].mul_(self._momentum).add_(grad * share)
            grad = grad + self._momentum * moved if self._nesterov else moved
        return grad * self.learning_rate


class Adam(Stepper):
    """``torch.optim.Adam``."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        learning_rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self._betas, self._eps, self._decay = betas, eps, weight_decay

    def begin(self, values: Tensor) -> dict[str, Tensor]:
        """See :meth:`Stepper.begin`."""
        return {"mean": torch.zeros_like(values), "square": torch.zeros_like(values)}

    def change(self, values: Tensor, grad: Tensor, states: dict[str, Tensor]) -> Tensor:
        """See :meth:`Stepper.change`."""
        grad = self._decayed(values, grad)
        low, high = self._betas
        mean = states["mean"].lerp_(grad, 1 - low)
        square = states["square"].mul_(high).addcmul_(grad, grad, value=1 - high)
        count = self.steps.clamp(min=1)
        size = _over(self.learning_rate / (1 - low**count), values).to(values.dtype)
        root = _over((1 - high**count).sqrt(), values).to(values.dtype)
        return self._more(values, size * mean / (square.sqrt() / root + self._eps))

    def _decayed(self, values: Tensor, grad: Tensor) -> Tensor:
        return grad + self._decay * values if self._decay else grad

    def _more(self, values: Tensor, changed: Tensor) -> Tensor:  # noqa: ARG002 - AdamW's decay goes by the values
        return changed


class AdamW(Adam):
    """``torch.optim.AdamW``."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        learning_rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, learning_rate, betas=betas, eps=eps, weight_decay=weight_decay)

    def _decayed(self, values: Tensor, grad: Tensor) -> Tensor:  # noqa: ARG002 - beside the gradient, not in it
        return grad

    def _more(self, values: Tensor, changed: Tensor) -> Tensor:
        return changed + self.learning_rate * self._decay * values


_KINDS: dict[str, type[Stepper]] = {"adam": Adam, "adamw": AdamW, "sgd": Sgd}


def check_optimizer(name: Any, options: Mapping[str, Any]) -> None:
    """Refuse an optimiser or an option that is not known.

    Raises:
        SettingsError: With the nearest names.
    """
    if name not in _KINDS:
        raise SettingsError(f"optimizer={name!r:.80}", f"A fleet has its own: {nearest(str(name), list(_KINDS))}.")
    known = list(inspect.signature(_KINDS[name]).parameters)[2:]
    for option in options:
        if option not in known:
            raise SettingsError(f"optimizer {name}: there is no option {option!r}", nearest(str(option), known))


def optimizer_of(name: str, parameters: dict[str, Tensor], learning_rate: float, options: Mapping[str, Any]) -> Stepper:
    """An optimiser by its name."""
    return _KINDS[name](parameters, learning_rate, **options)


def _over(values: Tensor, like: Tensor) -> Tensor:
    """One value for each entity, shaped to go over its parameter."""
    return values.view(-1, *[1] * (like.dim() - 1))
