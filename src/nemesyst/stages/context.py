"""What a stage's function is given as ``run``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nemesyst.errors import ScriptError
from nemesyst.models import Curves

if TYPE_CHECKING:
    import numpy as np

    from nemesyst.feed import BoundFeed
    from nemesyst.hub import Hub
    from nemesyst.types import Batch, Version


class Progress(Protocol):
    """Who is told how a job goes on; a terminal, a log, or nobody."""

    def rows(self, count: int) -> None:
        """So many more rows have passed."""

    def epoch(self, number: int, total: int, rows: int | None) -> None:
        """Epoch ``number`` (from 1) of ``total`` begins; it has about ``rows`` rows, if known."""

    def values(self, values: Mapping[str, float], step: int | None) -> None:
        """Numbers of the moment, such as a loss."""

    def expect(self, rows: int | None) -> None:
        """The job will pass about so many rows."""


class Silent:
    """Progress that nobody watches."""

    def rows(self, count: int) -> None:
        """Nothing."""

    def epoch(self, number: int, total: int, rows: int | None) -> None:
        """Nothing."""

    def values(self, values: Mapping[str, float], step: int | None) -> None:
        """Nothing."""

    def expect(self, rows: int | None) -> None:
        """Nothing."""


@dataclass
class Run:
    """A job as its function sees it.

    Attributes:
        hub: The hub.
        model: The model: a learner's name for it, a predictor's loaded one; None for a wrangler.
        version: Reference of the version that a predictor runs, or None.
        args: The arguments that the function was called with.
        seed: Seed of the feed, for whatever else is drawn.
        bound: The learner's or the model's feed, or None; the function asks for :attr:`feed`.
        parent: The version that a learner goes on from, or None; load it with ``run.hub.models.load(run.parent.ref,
            into=net, optimizer=optimizer)``.
        curves: What was logged, in buckets.
        rank: Number of this worker; 0.
        world_size: Workers that train together; 1.
    """

    hub: Hub
    bound: BoundFeed | None = None
    model: Any = None
    version: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    parent: Version | None = None
    curves: Curves = field(default_factory=Curves)
    rank: int = 0
    world_size: int = 1
    progress: Progress = field(default_factory=Silent)

    @property
    def feed(self) -> BoundFeed:
        """The learner's or the model's feed.

        Raises:
            ScriptError: A wrangler has none.
        """
        if self.bound is None:
            raise ScriptError("run.feed: this run has no feed", "A wrangler may open one: run.hub.feed(...).")
        return self.bound

    @property
    def device(self) -> str:
        """``"cuda"`` where the process uses PyTorch and a GPU is there, else ``"cpu"``."""
        torch = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"

    def epochs(self, count: int) -> Iterator[int]:
        """Count epochs from 0, telling how far they are."""
        rows = None if self.bound is None else self.bound.train.estimate()
        for number in range(count):
            self.progress.epoch(number + 1, count, rows)
            yield number

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Show numbers of the moment: ``run.log({"loss/train": loss}, step=step)``.

        Raises:
            ScriptError: A value is no number.
        """
        try:
            numbers = {name: float(value) for name, value in values.items()}
        except (TypeError, ValueError):
            raise ScriptError(f"run.log({values!r}): a value is no number", "Log floats, ints or 0-d arrays.") from None
        self.curves.add(numbers, step)
        self.progress.values(numbers, step)

    def predict(self, batch: Batch | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the model says about a batch (its ``x``), in evaluation mode, as a NumPy array of shape (rows, ...).

        Where the feed scales its targets, in their own units again.

        Raises:
            ScriptError: The run has no loaded model.
        """
        from nemesyst.frameworks import adapter_for

        if self.model is None or isinstance(self.model, str):
            raise ScriptError("run.predict: this run has no loaded model", "Only a predictor's run has one.")
        inputs = batch["x"] if isinstance(batch, Mapping) else batch
        said = adapter_for(self.model).predict(self.model, inputs)
        return said if self.bound is None else self.bound.unscale(said)
