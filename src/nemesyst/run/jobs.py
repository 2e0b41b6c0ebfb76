"""Jobs, what became of them, and the seams of an executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from nemesyst.stages import Changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

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
        label: What tells it from other jobs of the same function, such as ``"[site12] hidden=64"``.
        entity: The device or site that it is for, as the database has it; None: all.
        args: Arguments that come before those of the settings.
        changes: What differs from the declaration.
        workers: Processes that train its model together.
        gpus: GPUs for each of them.
        timeout: How long it may take, in s; None: as long as it likes.
        retries: How often it is begun again after what is transient.
        resume: Whether it goes on from the newest unfinished run of the same work.
        continues: Id of the run that an earlier attempt of this job has begun, which it goes on with; empty: none.
    """

    script: Path
    name: str
    kind: Kind
    label: str = ""
    entity: Any = field(default=None, hash=False)
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    changes: Changes = field(default_factory=Changes, hash=False)
    workers: int = 1
    gpus: float = 0.0
    timeout: float | None = None
    retries: int = 0
    resume: bool = False
    continues: str = ""

    def __str__(self) -> str:
        name = self.name if self.name == self.kind else f"{self.kind} {self.name}"
        return f"{name} {self.label}" if self.label else name


@dataclass(frozen=True)
class JobReport:
    """What became of a job: an outcome, or the error that ended it.

    Attributes:
        job: The job.
        outcome: What it did.
        error: What ended it.
        run: Id of its run's record; empty: it never had one.
        seconds: From its launch to its end, in s.
        memory: Largest resident memory of one of its processes, in bytes; None: not known.
        attempts: How often it was begun.
        transient: Whether the same may succeed later: the database was away, the process was killed.
        stopped: Whether it was ended because of another job's failure.
    """

    job: Job
    outcome: Outcome | None = None
    error: NemesystError | None = None
    run: str = ""
    seconds: float = 0.0
    memory: int | None = None
    attempts: int = 1
    transient: bool = False
    stopped: bool = False


class Watcher:
    """Who sees jobs run; this one does not look."""

    def round(self, kind: Kind, jobs: int) -> None:
        """A round of so many jobs begins."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def started(self, job: Job) -> None:
        """A job's process has begun."""

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """A job tells ``run`` (its record), ``rows``, ``epoch``, ``values`` or ``expect``."""

    def output(self, job: Job, line: str) -> None:
        """A job's function printed a line."""

    def waiting(self, job: Job) -> None:
        """All are being ended, and this job takes its time."""

    def again(self, report: JobReport, seconds: float) -> None:
        """A job failed for what is transient, and is begun again in so many seconds."""

    def ended(self, report: JobReport) -> None:
        """A job is over; it may never have started."""


class Executor(ABC):
    """Where jobs run, each in a process (or more) of its own; what runs when is the round's business.

    All methods are called by one thread. Subclass it, and run ``nemesyst.checks.check_executor`` on it.
    """

    @abstractmethod
    def fits(self, job: Job, running: Sequence[Job]) -> bool:
        """Whether a job can be started beside those that run.

        Raises:
            JobError: It never can: there are fewer cores or GPUs in all than it asks for.
        """

    @abstractmethod
    def launch(self, job: Job, watcher: Watcher) -> None:
        """Start a job; what it tells goes to the watcher, during :meth:`wait`."""

    @abstractmethod
    def wait(self, seconds: float | None) -> list[JobReport]:
        """Pass on what the jobs tell, until one or more have ended, or so long; None: until then.

        Returns:
            Reports of those that have ended.
        """

    @abstractmethod
    def interrupt(self, job: Job) -> None:
        """Ask a running job to end, as Ctrl-C does; it reports itself as ended later."""

    @abstractmethod
    def kill(self, job: Job) -> None:
        """End a running job at once, with all processes of its own."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the executor holds; kills what still runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
