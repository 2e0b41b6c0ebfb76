"""Jobs as a person sees them: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from nemesyst.cli.command import is_terminal
from nemesyst.run import Job, JobReport, Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.cli.command import Session

_EVERY = 5.0
"""Time between two plain lines about a job that goes on, in s."""


@dataclass
class _State:
    """What is known of a running job."""

    rows: int = 0
    epoch: tuple[int, int] | None = None
    before: int = 0  # rows of the epochs before this one
    expected: int | None = None
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

    def line(self) -> str:
        """All of it in a line."""
        parts = [] if self.epoch is None else [f"epoch {self.epoch[0]}/{self.epoch[1]}"]
        parts += [f"{self.rows:,} rows", f"{self.rate:,.0f} rows/s" if self.rate else "", self.values]
        return "  ".join(part for part in parts if part)


class Lines(Watcher):
    """A line at each start, end and new epoch, and every few seconds between."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._states: dict[Job, _State] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, job: Job) -> None:
        """Say that it begins."""
        self._states[job] = _State()
        self._session.say(f"{job}: started")

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Say how it goes, now and then."""
        state = self._states[job]
        new_epoch = "epoch" in event and state.epoch is not None
        due = time.monotonic() - state.told > _EVERY
        if new_epoch or due:
            self._session.say(f"{job}: {state.line()}")
            state.told = time.monotonic()
        state.take(event)

    def output(self, job: Job, line: str) -> None:
        """Pass a line on."""
        self._session.say(f"{job} | {line}")

    def waiting(self, job: Job) -> None:
        """Say so."""
        tell_waiting(job)

    def ended(self, report: JobReport) -> None:
        """Say how it ended."""
        state = self._states[report.job]
        if state.values:
            self._session.say(f"{report.job}: {state.line()}")
        tell_end(self._session, report)


class Bars(Watcher):
    """A bar for each running job, with rate, remaining time and the newest numbers."""

    def __init__(self, session: Session) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._session = session
        self._states: dict[Job, _State] = {}
        self._tasks: dict[Job, Any] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>14}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=Console(stderr=session.json),
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, job: Job) -> None:
        """Show a bar."""
        self._states[job] = _State()
        self._tasks[job] = self._bars.add_task(str(job), total=None, rate="", values="")

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Move the bar."""
        state = self._states[job]
        if "epoch" in event:
            self._bars.reset(self._tasks[job])
        state.take(event)
        name = str(job) if state.epoch is None else f"{job}, epoch {state.epoch[0]}/{state.epoch[1]}"
        self._bars.update(
            self._tasks[job],
            description=name,
            completed=state.rows - state.before,
            total=state.expected,
            rate=f"{state.rate:,.0f} rows/s" if state.rate else "",
            values=state.values,
        )

    def output(self, job: Job, line: str) -> None:
        """Print above the bars."""
        self._bars.console.print(f"{job} | {line}", markup=False, highlight=False)

    def waiting(self, job: Job) -> None:
        """Say so."""
        tell_waiting(job)

    def ended(self, report: JobReport) -> None:
        """Take the bar away and say how it ended."""
        state = self._states[report.job]
        self._bars.remove_task(self._tasks[report.job])
        if state.values:
            self._bars.console.print(f"{report.job}: {state.line()}", markup=False, highlight=False)
        tell_end(self._session, report)


def tell_waiting(job: Job) -> None:
    """Say what an interrupted command waits for."""
    print(f"waiting for {job} to end; Ctrl-C again does not wait", file=sys.stderr, flush=True)


def tell_end(session: Session, report: JobReport) -> None:
    """Say how a job ended: its outcome, or its error on standard error."""
    if report.error is not None:
        if not session.json:
            print(f"error: {report.job}: {report.error}", file=sys.stderr, flush=True)
    elif report.outcome is not None:
        session.say(f"{report.job}: {report.outcome.summary} in {report.outcome.seconds:.1f} s")


def watch(session: Session) -> Bars | Lines:
    """The watcher that fits: bars on a terminal, lines elsewhere."""
    stream = sys.stderr if session.json else sys.stdout
    return Bars(session) if is_terminal(stream) and not session.quiet else Lines(session)
