"""What a fleet is trained with, and in which order each entity takes its rows; arrays only."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import SettingsError
from nemesyst.frameworks.batched.losses import loss_of
from nemesyst.frameworks.batched.optimizers import check_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recipe:
    """How every member is trained.

    Attributes:
        epochs: Passes over a member's rows.
        learning_rate: Step size of the optimiser.
        batch_size: Rows of a step; the last one of an epoch may have fewer.
        seed: Seed of first weights, order and dropout.
        shuffle: Whether rows come in another order in each epoch.
        loss: See :func:`nemesyst.frameworks.batched.losses.loss_of`.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        options: Its options, as in ``torch.optim``.
        patience: Epochs without a better loss on a member's validation rows after which it stops; its best weights are
            kept. None: all epochs, and the last weights.
    """

    epochs: int = 5
    learning_rate: float = 1e-3
    batch_size: int = 32
    seed: int = 0
    shuffle: bool = True
    loss: str | Callable[..., Any] = "mse"
    optimizer: str = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise SettingsError(f"{name}={value!r}", f"Give a whole number, {least} or more.")
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise SettingsError(f"learning_rate={rate!r}", "Give a number above 0, such as 0.001.")
        loss_of(self.loss)
        check_optimizer(self.optimizer, self.options)


@dataclass(frozen=True)
class Member:
    """One entity: its name, and its rows.

    Attributes:
        name: Tells its random numbers from the others'.
        train: Inputs (``x``, or ``x.name`` arrays) and ``y``, first axis the row, at least one.
        validation: The same; may have no rows.
    """

    name: str
    train: Mapping[str, Array]
    validation: Mapping[str, Array]


@dataclass(frozen=True)
class Learned:
    """What became of a member.

    Attributes:
        name: The member's.
        state: Parameters and buffers by name.
        losses: Mean loss on its train rows, by epoch.
        validation: Mean loss on its validation rows, by epoch; empty where it has none.
        best: The epoch that the weights are of, from 0.
        outputs: What the model gives for the validation rows, (rows, ...); None where it was not asked for.
    """

    name: str
    state: Mapping[str, Array]
    losses: tuple[float, ...]
    validation: tuple[float, ...]
    best: int
    outputs: Array | None = None


def seed_of(seed: int, name: str) -> int:
    """The seed of a member's first weights: of the fleet's and its name alone, 0 up to 2**63."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big") >> 1


def order_of(recipe: Recipe, name: str, epoch: int, rows: int) -> Array:
    """In which order a member takes its rows in an epoch; int64, shape (rows,)."""
    if not recipe.shuffle:
        return np.arange(rows)
    return np.random.default_rng([seed_of(recipe.seed, name), epoch]).permutation(rows)


def rows_of(part: Mapping[str, Array]) -> int:
    """How many rows a part has."""
    return len(part["y"]) if "y" in part else 0
