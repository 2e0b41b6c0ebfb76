"""How validations are asked for, and what a run remembers of them: the best weights, and when to stop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nemesyst.errors import MismatchError, ModelError, ScriptError
from nemesyst.frameworks import adapter_for

Predict = Callable[[Any, Mapping[str, np.ndarray[Any, Any]]], Any]
"""A function of the model and a batch (without targets): one prediction a row, scaled as the targets are."""


@dataclass(frozen=True)
class Validated:
    """What one validation found.

    Attributes:
        metrics: The metrics by name, in the targets' own units.
        best: Those of the best validation so far; of this one, as long as none had a number.
        improved: Whether this is the best one so far.
        stop: Whether there was none better for as many validations as ``patience`` says.
    """

    metrics: Mapping[str, float]
    best: Mapping[str, float]
    improved: bool = False
    stop: bool = False


@dataclass(frozen=True)
class Asked:
    """What :meth:`Run.validate` was asked for; the fields are its arguments."""

    keep: Literal["best"] | None = None
    patience: int | None = None
    by: str | None = None
    better: Literal["lower", "higher"] | None = None
    part: Literal["validation", "test"] = "validation"
    predict: Predict | None = None
    optimizer: Any = None
    step: int | None = None

    def __post_init__(self) -> None:
        _one_of("keep", self.keep, (None, "best"))
        _one_of("better", self.better, (None, "lower", "higher"))
        _one_of("part", self.part, ("validation", "test"))
        whole = isinstance(self.patience, int) and not isinstance(self.patience, bool)
        if self.patience is not None and (not whole or self.patience < 1):
            raise ScriptError(
                f"run.validate(patience={self.patience!r})", "Give a number of validations, 1 or more; none: no limit."
            )
        if self.decides and self.part != "validation":
            raise ScriptError(
                f"run.validate(part={self.part!r}): rows that decide on a model are no test of it",
                "Keep the best and stop early by the validation part; leave keep and patience out here.",
            )

    @property
    def decides(self) -> bool:
        """Whether weights are kept or the training is ended by it."""
        return self.keep is not None or self.patience is not None


def _one_of(name: str, given: object, known: tuple[str | None, ...]) -> None:
    if given not in known:
        raise ScriptError(f"run.validate({name}={given!r})", f"One of {', '.join(map(repr, known))}.")


@dataclass
class Validation:
    """How the validations of a loop over :meth:`Run.epochs` went so far.

    Attributes:
        loop: Number of the loop, from 1; 0: before the first, or outside of any.
        by: The metric that decides, and ``better`` is how.
        best: All metrics of the best validation.
        since: Validations since then.
        decides: Whether weights are kept or the loop is ended by it.
        stopped: Whether the loop is to end.
        weights: The best weights, as the model's adapter stores them.
        over: Whether the loop has ended.
        claimed: Whether the weights are in the model.
    """

    loop: int = 0
    by: str | None = None
    better: Literal["lower", "higher"] = "lower"
    best: dict[str, float] = field(default_factory=dict)
    since: int = 0
    decides: bool = False
    stopped: bool = False
    weights: bytes | None = field(default=None, repr=False)
    over: bool = False
    claimed: bool = False
    net: Any = field(default=None, repr=False)

    def judge(self, metrics: Mapping[str, float], net: Any, asked: Asked) -> bool:
        """Take the metrics of one more validation; whether it is the best so far. What is no number never is."""
        value = metrics[str(self.by)]
        sign = 1 if self.better == "higher" else -1
        improved = math.isfinite(value) and (not self.best or sign * value > sign * self.best[str(self.by)])
        self.net = net
        if improved:
            self.best, self.since = dict(metrics), 0
            if asked.keep is not None:
                self.weights, self.claimed = b"".join(map(bytes, adapter_for(net).dump(net))), False
        else:
            self.since += 1
        self.stopped = asked.patience is not None and self.since >= asked.patience
        return improved

    def restore(self, net: Any) -> Any:
        """The best weights put into a model; it, or a new one where arrays never change (trees of JAX).

        Raises:
            ScriptError: None were kept.
            MismatchError: They do not fit.
        """
        if self.weights is None:
            raise ScriptError(
                "run.best: no weights were kept",
                'Call run.validate(net, metrics, keep="best") before; a metric that is no number is never the best.',
            )
        try:
            made = adapter_for(net).load(self.weights, net)
        except ModelError as error:
            raise MismatchError(
                f"run.best: the best weights do not fit this model: {error.message}", "Give the one that was validated."
            ) from error
        self.claimed = True
        return made

    def finish(self) -> None:
        """The loop has ended: put the best weights into the model, if they were kept."""
        if self.over:
            return
        self.over = True
        if self.weights is None or self.net is None:
            return
        self.claimed = self.restore(self.net) is self.net

    def tell_unclaimed(self) -> None:
        """Say so, if the best weights were kept and never put into the model."""
        if self.weights is not None and not self.claimed and self.since:
            warnings.warn(
                "the best weights were kept, and the model has the last ones: the loop over run.epochs was left before "
                "its end, or the model is a tree of arrays that never change. Take net = run.best(net) after it.",
                UserWarning,
                stacklevel=2,
            )

    def state_dict(self, model: Any = None) -> dict[str, Any]:
        """All of it, for a checkpoint of ``model``."""
        own = self.net is None or self.net is model
        names = ("loop", "by", "better", "since", "decides", "stopped", "weights", "over", "claimed")
        return {"best": dict(self.best), "own": own, **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state: Mapping[str, Any], model: Any = None) -> None:
        """Go on from what :meth:`state_dict` gave; ``model`` is the one of the checkpoint."""
        for name, value in state.items():
            if name != "own":
                setattr(self, name, value)
        self.net = model if state["own"] else None
