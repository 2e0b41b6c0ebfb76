"""Some entities whose models are trained in the same operations."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.func import functional_call

from nemesyst.errors import ModelError, NemesystError
from nemesyst.frameworks.batched.losses import loss_of
from nemesyst.frameworks.batched.modules import draws_of
from nemesyst.frameworks.batched.optimizers import optimizer_of
from nemesyst.frameworks.batched.plan import Learned, Member, Recipe, order_of, rows_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    Array = np.ndarray[Any, Any]
    State = dict[str, Tensor]

_EVALUATED = 4
"""Batches of rows that are evaluated at once."""


class Block:
    """Members that are trained side by side.

    Args:
        module: A batchable module, not shared with another thread.
        states: First parameters and buffers of each member.
        members: The members.
        recipe: How they are trained.
        device: Where.
    """

    def __init__(
        self, module: nn.Module, states: Sequence[State], members: Sequence[Member], recipe: Recipe, device: str
    ) -> None:
        self._module, self._recipe, self._device = module.to(device), recipe, device
        self._members = list(members)
        self._draws = draws_of(module)
        learned = {name for name, each in module.named_parameters() if each.requires_grad}
        stacked = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        self._parameters = {name: each.requires_grad_() for name, each in stacked.items() if name in learned}
        self._others = {name: each for name, each in stacked.items() if name not in learned}
        self._dtype = next((each.dtype for each in stacked.values() if each.is_floating_point()), torch.float32)
        self._stepper = optimizer_of(recipe.optimizer, self._parameters, recipe.learning_rate, recipe.options)
        self._train = _Rows([each.train for each in members], self._dtype, device)
        self._validation = _Rows([each.validation for each in members], self._dtype, device)
        self._loss = loss_of(recipe.loss)
        self._seeds = torch.tensor([seed_of(recipe.seed, each.name) for each in members], device=device)
        self._step = 0
        self._told = [_Told() for _ in members]
        self._best: State = {}

    def run(self, told: Callable[[int, int], None], *, outputs: bool) -> list[Learned]:
        """Train all of them to their ends, in the order in which they end.

        Args:
            told: Called after each epoch with its number and the rows that passed.
            outputs: Whether what they give for their validation rows is wanted.
        """
        done: list[Learned] = []
        for epoch in range(self._recipe.epochs):
            losses = self._epoch(epoch)
            validation = self._validated()
            ended = self._noted(epoch, losses, validation)
            told(epoch, sum(self._train.counts))
            if ended.any() or epoch == self._recipe.epochs - 1:
                over = np.ones_like(ended) if epoch == self._recipe.epochs - 1 else ended
                done += self._taken(np.flatnonzero(over), outputs=outputs)
                self._keep(np.flatnonzero(~over))
            if not self._members:
                break
        return done

    def _epoch(self, epoch: int) -> Array:
        """One pass; the mean loss of each member."""
        self._module.train()
        size, counts = self._recipe.batch_size, self._train.counts
        orders = [order_of(self._recipe, each.name, epoch, n) for each, n in zip(self._members, counts, strict=True)]
        sums = torch.zeros(len(counts), dtype=torch.float64, device=self._device)
        for begin in range(0, max(counts), size):
            self._step = (epoch << 24) + begin  # not a count of the block's steps: members have different numbers
            rows, present = self._train.chosen(
                [order[begin : begin + size] for order in orders], size, whole=bool(self._draws)
            )
            losses = self._losses(rows)
            held = present.sum(1)
            weights = present / held.clamp(min=1).unsqueeze(1)
            of_each = (losses * weights.to(losses.dtype)).sum(1)
            torch.autograd.backward(of_each.sum())
            active = None if bool((held > 0).all()) else held > 0
            self._stepper.step(active)
            found = of_each.detach().double() * held
            sums += torch.where(held > 0, found, torch.zeros_like(found))
        return (sums.cpu().numpy() / counts).astype(np.float64)

    def _losses(self, rows: State) -> Tensor:
        """The loss of each row, (members, rows)."""

        def of_one(state: State, rows: State) -> Tensor:
            inputs = {name: each for name, each in rows.items() if name != "y"}
            return self._loss(self._output(state, inputs), rows["y"])

        losses: Tensor = self._batched(of_one, self._parameters, rows)
        return losses

    def _output(self, state: State, inputs: State) -> Any:
        if "x" in inputs:
            return functional_call(self._module, state, (inputs["x"],))
        return functional_call(self._module, state, (), {name[2:]: each for name, each in inputs.items()})

    def _batched(self, call: Callable[..., Any], parameters: State, rows: State) -> Any:
        state = {**parameters, **self._others}
        if self._draws:
            draw = self._seeds + self._step
            state |= {name: draw + (number << 48) for number, name in enumerate(self._draws)}
        try:
            return torch.vmap(call)(state, rows)
        except NemesystError:
            raise
        except Exception as error:
            raise ModelError(
                f"{type(self._module).__name__} cannot be trained for many entities at once: "
                f"{type(error).__name__}: {' '.join(str(error).split())!s:.400}",
                "Its forward and loss may branch on sizes, not on values, and draw random numbers by nn.Dropout alone; "
                "or train each model alone: @nm.learner(..., entities=...).",
            ) from error

    @torch.no_grad()
    def _validated(self) -> Array | None:
        """The mean loss of each member on its validation rows, NaN where it has none; None: nobody has any."""
        counts = self._validation.counts
        if not max(counts):
            return None
        self._module.eval()
        sums = torch.zeros(len(counts), dtype=torch.float64, device=self._device)
        for rows, present in self._evaluated():
            losses = self._losses(rows).double()
            sums += torch.where(present, losses, torch.zeros_like(losses)).sum(1)
        with np.errstate(invalid="ignore"):
            found: Array = sums.cpu().numpy() / np.array(counts)
        return found

    def _evaluated(self) -> Iterator[tuple[State, Tensor]]:
        size, counts = self._recipe.batch_size * _EVALUATED, self._validation.counts
        for begin in range(0, max(counts), size):
            yield self._validation.chosen([np.arange(begin, min(begin + size, n)) for n in counts], size)

    def _noted(self, epoch: int, losses: Array, validation: Array | None) -> Array:
        """Take the losses of an epoch; which members stop, bool of shape (members,)."""
        better = np.zeros(len(losses), bool)
        ended = ~np.isfinite(losses)
        for row, (told, loss) in enumerate(zip(self._told, losses, strict=True)):
            told.losses.append(float(loss))
            found = np.nan if validation is None else float(validation[row])
            if self._validation.counts[row]:
                told.validation.append(found)
            if self._recipe.patience is None or not self._validation.counts[row] or found < told.least:
                told.best, told.least, better[row] = epoch, found, True
            elif epoch - told.best >= self._recipe.patience:
                ended[row] = True
        if self._recipe.patience is not None:
            self._note_best(torch.from_numpy(better).to(self._device))
        return ended

    @torch.no_grad()
    def _note_best(self, better: Tensor) -> None:
        for name, values in self._parameters.items():
            if name not in self._best:
                self._best[name] = values.clone()
                continue
            over = better.view(-1, *[1] * (values.dim() - 1))
            self._best[name] = torch.where(over, values, self._best[name])

    def _taken(self, rows: Array, *, outputs: bool) -> list[Learned]:
        """What became of some members."""
        best = {name: each.detach() for name, each in (self._best or self._parameters).items()}
        given = self._outputs(best) if outputs and max(self._validation.counts) else [None] * len(self._members)
        state = {name: each.cpu().numpy() for name, each in {**best, **self._others}.items()}
        return [
            Learned(
                self._members[row].name,
                {name: each[row].copy() for name, each in state.items()},
                tuple(self._told[row].losses),
                tuple(self._told[row].validation),
                self._told[row].best,
                given[row],
            )
            for row in rows.tolist()
        ]

    @torch.no_grad()
    def _outputs(self, parameters: State) -> list[Array | None]:
        self._module.eval()
        found: list[Array] = []
        for rows, _ in self._evaluated():
            inputs = {name: each for name, each in rows.items() if name != "y"}
            found.append(self._batched(self._output, parameters, inputs).cpu().numpy())
        whole = np.concatenate(found, 1)
        return [whole[row, :n] if n else None for row, n in enumerate(self._validation.counts)]

    def _keep(self, rows: Array) -> None:
        """Go on with some members alone."""
        index = torch.from_numpy(rows).to(self._device)
        self._members = [self._members[row] for row in rows]
        self._told = [self._told[row] for row in rows]
        self._parameters = {name: each.detach()[index].requires_grad_() for name, each in self._parameters.items()}
        self._others = {name: each[index] for name, each in self._others.items()}
        self._best = {name: each[index] for name, each in self._best.items()}
        self._stepper.keep(index, self._parameters)
        self._seeds = self._seeds[index]
        self._train, self._validation = self._train.only(rows), self._validation.only(rows)


class _Told:
    """What is noted of a member."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.validation: list[float] = []
        self.best = 0
        self.least = float("inf")


class _Rows:
    """The rows of a part of all members, one behind the other."""

    def __init__(self, parts: Sequence[Mapping[str, Array]], dtype: torch.dtype, device: str) -> None:
        self.counts = [rows_of(part) for part in parts]
        self._begins = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        full = [part for part, count in zip(parts, self.counts, strict=True) if count]
        self._device, self._all = device, sum(self.counts)
        self._arrays: State = {}
        for name in full[0] if full else ():
            tensor = torch.from_numpy(np.concatenate([part[name] for part in full])).to(device)
            self._arrays[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor

    def chosen(self, wanted: Sequence[Array], size: int, *, whole: bool = False) -> tuple[State, Tensor]:
        """Some rows of each member.

        Args:
            wanted: Their numbers, at most ``size`` for each member.
            size: Rows of a batch, at most.
            whole: Whether it is filled up to them, so that its shape does not depend on who else is there.

        Returns:
            Arrays of shape (members, rows, ...), filled up with rows that do not count, the member's own if it has any;
            and which do, bool.
        """
        width = size if whole else max(map(len, wanted))
        index = np.repeat(np.minimum(self._begins, self._all - 1)[:, None], width, axis=1)
        present = np.zeros((len(wanted), width), bool)
        for row, numbers in enumerate(wanted):
            index[row, : len(numbers)] = self._begins[row] + numbers
            present[row, : len(numbers)] = True
        rows = torch.from_numpy(index).to(self._device)
        return {name: each[rows] for name, each in self._arrays.items()}, torch.from_numpy(present).to(self._device)

    def only(self, rows: Array) -> _Rows:
        """The same of some members alone; the arrays stay."""
        made = copy.copy(self)
        made.counts, made._begins = [self.counts[row] for row in rows], self._begins[rows]  # noqa: SLF001 - its own kind
        return made
