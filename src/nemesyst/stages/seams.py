"""The seams between a job's function and what runs it: who is told, who records, who trains along.

An executor gives its own; what stands here does nothing, so that a function runs without any of them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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


class Group(Protocol):
    """The workers that train one model together; every worker calls the same methods in the same order."""

    rank: int
    """Number of this worker, from 0."""
    size: int
    """How many there are."""

    @property
    def device(self) -> str:
        """Where this worker's model belongs: ``"cpu"``, ``"cuda:1"``."""

    def prepare(self, *things: Any) -> Any:
        """Wrap a model (and its optimiser) for training together; one thing, or a tuple of as many as were given."""

    def unwrapped(self, model: Any) -> Any:
        """The model that :meth:`prepare` wrapped, or the same one."""

    def mean(self, value: Any) -> Any:
        """The mean of a number, an array or a tree of arrays over the workers."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any worker."""

    def gather(self, value: Any) -> list[Any]:
        """A small picklable value of each worker, by rank, on all of them."""

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, on all of them."""


class Alone:
    """A group of one."""

    rank = 0
    size = 1

    @property
    def device(self) -> str:
        """``"cuda"`` where the process uses PyTorch and a GPU is there, else ``"cpu"``."""
        torch = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"

    def prepare(self, *things: Any) -> Any:
        """The same things."""
        return things[0] if len(things) == 1 else things

    def unwrapped(self, model: Any) -> Any:
        """The same model."""
        return model

    def mean(self, value: Any) -> Any:
        """The same value."""
        return value

    def any(self, flag: bool) -> bool:
        """The same flag."""
        return bool(flag)

    def gather(self, value: Any) -> list[Any]:
        """It alone."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """The same value."""
        return value


class Recorder(Protocol):
    """Who keeps what a run says about itself, and its checkpoints."""

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """Keep numbers of the moment; takes microseconds and never fails."""

    def save(self, step: int, snapshot: Any) -> None:
        """Keep a checkpoint, in the background; see ``nemesyst.stages.checkpointing``."""

    def last(self) -> Any:
        """The newest checkpoint of the run that this one goes on from, or None."""


class Unrecorded:
    """A run of which nothing is kept."""

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """Nothing."""

    def save(self, step: int, snapshot: Any) -> None:
        """Nothing."""

    def last(self) -> Any:
        """None."""


@dataclass(frozen=True)
class Changes:
    """What a job has otherwise than its stage was declared.

    Attributes:
        feed: Fields of the feed (``{"batch_size": 64}``), or another collection.
        model: Another name to store under, or another reference to predict with.
        into: Another collection for records or predictions.
        by: Another field that tells the rows of the job's entity.
    """

    feed: Mapping[str, Any] | str | None = None
    model: str | None = None
    into: str | None = None
    by: str | None = None


@dataclass(frozen=True)
class JobContext:
    """What a job is given beside its stage.

    Attributes:
        script: The file that the stage stands in, for the record.
        entity: The device or site that it is for, as the database has it; None: all.
        changes: What differs from the declaration.
        progress: Who is told how it goes.
        group: Who trains along.
        recorder: Who keeps what it says.
    """

    script: Path | None = None
    entity: Any = None
    changes: Changes = field(default_factory=Changes)
    progress: Progress = field(default_factory=Silent)
    group: Group = field(default_factory=Alone)
    recorder: Recorder = field(default_factory=Unrecorded)
