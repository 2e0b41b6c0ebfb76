"""Jobs, what became of them, and the seams of an executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nemesyst.errors import NemesystError
    from nemesyst.stages import Outcome

Kind = Literal["wrangle", "learn", "infer"]


@dataclass(frozen=True)
class Job:
    """A stage of a script, to be run once.

    Attributes:
        script: The file.
        name: The function.
        kind: Its stage.
    """

    script: Path
    name: str
    kind: Kind

    def __str__(self) -> str:
        return self.name if self.name == self.kind else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class JobReport:
    """What became of a job: an outcome, or the error that ended it."""

    job: Job
    outcome: Outcome | None = None
    error: NemesystError | None = None


class Watcher:
    """Who sees jobs run; this one does not look."""

    def started(self, job: Job) -> None:
        """A job's process has begun."""

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """A job tells ``rows``, ``epoch``, ``values`` or ``expect``; see ``nemesyst.stages.Progress``."""

    def output(self, job: Job, line: str) -> None:
        """A job's function printed a line."""

    def waiting(self, job: Job) -> None:
        """All are being ended, and this job takes its time."""

    def ended(self, report: JobReport) -> None:
        """A job is over."""


class Executor(ABC):
    """Where the jobs of a round run."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], watcher: Watcher) -> list[JobReport]:
        """Run the jobs side by side, each in a process of its own, until all have ended.

        A job that fails does not stop the others. Interrupted, it ends them all before it raises
        ``KeyboardInterrupt``.
        """
