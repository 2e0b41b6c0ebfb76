"""Jobs as a person sees them: a line for each that runs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from nemesyst.cli.command import is_terminal
from nemesyst.cli.outcomes import line_of
from nemesyst.run import Job, JobReport, Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.cli.command import Session
    from nemesyst.run import Kind

_EVERY = 5.0
"""Time between two plain lines about a job that goes on, in s."""
_FIRST, _AGAIN = 10, 1.0
"""After so many epochs, the least time between the lines of two, in s."""
_HOUR, _MINUTE = 3600, 60


@dataclass
class State:
    """What is known of a running job."""

    rows: int = 0
    epoch: tuple[int, int] | None = None
    before: int = 0  # rows of the epochs before this one
    expected: int | None = None
    step: int | None = None
    values: str = ""
    started: float | None = None  # when the first rows had passed
    told: float = field(default_factory=time.monotonic)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note what a job told."""
        if event.get("rows"):
            self.rows = event["rows"]
            self.started = self.started or time.monotonic()
        if "values" in event:
            self.values = "  ".join(f"{name} {value:.4g}" for name, value in event["values"].items())
            self.step = event.get("step", self.step)
        if "expect" in event:
            self.expected = event["expect"]
        if "epoch" in event:
            number, total, self.expected = event["epoch"]
            self.epoch, self.before = (number, total), self.rows

    @property
    def rate(self) -> float:
        """Rows per second since the first ones."""
        seconds = 0.0 if self.started is None else time.monotonic() - self.started
        return self.rows / seconds if seconds > 0.5 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that it will take yet, at this rate."""
        if not self.expected or not self.rate:
            return None
        epochs = 1 if self.epoch is None else self.epoch[1] - self.epoch[0] + 1
        return max(0.0, self.expected * epochs - (self.rows - self.before)) / self.rate

    def line(self) -> str:
        """All of it in a line."""
        parts = [] if self.epoch is None else [f"epoch {self.epoch[0]}/{self.epoch[1]}"]
        parts += [f"{self.rows:,} rows", f"{self.rate:,.0f} rows/s" if self.rate else ""]
        parts += ["" if self.step is None else f"step {self.step:,}", self.values]
        parts += ["" if self.left is None else f"{duration(self.left)} left"]
        return "  ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(3725)
    '1:02:05'
    """
    whole = round(seconds)
    minutes = f"{whole // _MINUTE % _MINUTE:02d}:{whole % _MINUTE:02d}"
    return f"{whole // _HOUR}:{minutes}" if whole >= _HOUR else minutes


class _Told(Watcher):
    """What is told alike on a terminal and elsewhere."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._states: dict[Job, State] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Print a line."""
        self._session.say(text)

    def note(self, text: str) -> None:
        """Pass it on."""
        self.say(text)

    def output(self, job: Job, line: str) -> None:
        """Pass a line on."""
        self.say(f"{job} | {line}")

    def waiting(self, job: Job) -> None:
        """Say what an interrupted command waits for."""
        print(f"waiting for {job} to end; Ctrl-C again does not wait", file=sys.stderr, flush=True)

    def again(self, report: JobReport, seconds: float) -> None:
        """Say that it failed, and when it is begun again."""
        self._states.pop(report.job, None)
        why = "" if report.error is None else report.error.message
        self.say(f"{report.job}: attempt {report.attempts} failed: {why}; again in {seconds:g} s")

    def ended(self, report: JobReport) -> None:
        """Say how it ended: its outcome, or its error on standard error."""
        state = self._states.pop(report.job, None)
        if state is not None and state.values:
            self.say(f"{report.job}: {state.line()}")
        if report.error is None:
            self.say(line_of(report))
        elif not self._session.json:
            print(f"error: {report.job}: {report.error}", file=sys.stderr, flush=True)


class Lines(_Told):
    """A line at each start, end and new epoch, and every few seconds between."""

    def started(self, job: Job) -> None:
        """Say that it begins."""
        self._states[job] = State()
        self._session.say(f"{job}: started")

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Say how it goes, now and then."""
        state = self._states.setdefault(job, State())
        since = time.monotonic() - state.told
        new_epoch = "epoch" in event and state.epoch is not None and (state.epoch[0] <= _FIRST or since > _AGAIN)
        if new_epoch or since > _EVERY:
            self._session.say(f"{job}: {state.line()}")
            state.told = time.monotonic()
        state.take(event)


class Bars(_Told):
    """A line with a bar for each running job, and one for the round."""

    def __init__(self, session: Session) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__(session)
        self._tasks: dict[Job, Any] = {}
        self._round: Any = None
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>14}"),
            TextColumn("{task.fields[left]:>8}"),
            TextColumn("{task.fields[values]}"),
            console=Console(stderr=session.json),
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)

    def round(self, kind: Kind, jobs: int) -> None:
        """Show how many jobs of the round are over, where there are several."""
        if self._round is not None:
            self._bars.remove_task(self._round)
        self._round = self._add(f"{kind}: jobs", jobs) if jobs > 1 else None

    def started(self, job: Job) -> None:
        """Show a bar."""
        self._states[job] = State()
        self._tasks[job] = self._add(str(job), None)

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Move the bar."""
        if job not in self._tasks:
            return
        state = self._states[job]
        state.take(event)
        name = str(job) if state.epoch is None else f"{job}, epoch {state.epoch[0]}/{state.epoch[1]}"
        step = "" if state.step is None else f"step {state.step:,}  "
        self._bars.update(
            self._tasks[job],
            description=name,
            completed=state.rows - state.before,
            total=state.expected,
            rate=f"{state.rate:,.0f} rows/s" if state.rate else "",
            left="" if state.left is None else duration(state.left),
            values=step + state.values,
        )

    def again(self, report: JobReport, seconds: float) -> None:
        """Take the bar away, and say why."""
        self._remove(report.job)
        super().again(report, seconds)

    def ended(self, report: JobReport) -> None:
        """Take the bar away and say how it ended."""
        if self._remove(report.job) and self._round is not None:
            self._bars.advance(self._round)
        super().ended(report)

    def _add(self, text: str, total: int | None) -> Any:
        return self._bars.add_task(text, total=total, rate="", left="", values="")

    def _remove(self, job: Job) -> bool:
        task = self._tasks.pop(job, None)
        if task is not None:
            self._bars.remove_task(task)
        return task is not None


def watch(session: Session) -> Bars | Lines:
    """The watcher that fits: bars on a terminal, lines elsewhere."""
    stream = sys.stderr if session.json else sys.stdout
    return Bars(session) if is_terminal(stream) and not session.quiet else Lines(session)
