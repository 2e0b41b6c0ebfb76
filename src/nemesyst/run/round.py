"""One round: its jobs are started as they fit, timed, begun again, and ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError, NemesystError
from nemesyst.run.jobs import Executor, Job, JobReport, Watcher
from nemesyst.run.waiting import Turn, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SOON = 2.0
"""How long an interrupted job may take without a word about it, in s."""
_GRACE = 10.0
"""How long an interrupted job may take to end, in s."""
_LOST = 5.0
"""How long a killed job may take to be reported, in s."""
_LONGEST = 30.0
"""Longest time between two attempts, in s."""
_LOOK = 1.0
"""How long to wait for room that others than this round's jobs take, in s."""


@dataclass
class _Running:
    """A job that runs.

    Attributes:
        turn: Which one.
        begun: When.
        due: When it is to be interrupted; None: never.
        why: What it will be said to have ended for; None: nothing ended it so far.
        ending: When it was interrupted.
        killed: When it was killed.
        run: Id of its run, once it has told it.
    """

    turn: Turn
    begun: float
    due: float | None
    why: str | None = None
    ending: float | None = None
    killed: float | None = None
    run: str = ""

    @property
    def next(self) -> float | None:
        """When something is to be done about it."""
        if self.killed is not None:
            return self.killed + _LOST
        return self.due if self.ending is None else self.ending + _GRACE


class _Listening(Watcher):
    """Passes on what a job tells, and notes its run: whoever loses the job cannot report it."""

    def __init__(self, watcher: Watcher, running: _Running) -> None:
        self._watcher, self._running = watcher, running

    def note(self, text: str) -> None:
        self._watcher.note(text)

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        self._running.run = str(event.get("run", self._running.run))
        self._watcher.progress(job, event)

    def output(self, job: Job, line: str) -> None:
        self._watcher.output(job, line)


class Round:
    """Runs the jobs of one round.

    Args:
        executor: Where.
        watcher: Who sees it.
        fail_fast: Whether the first failure ends the other jobs.
    """

    def __init__(self, executor: Executor, watcher: Watcher, *, fail_fast: bool = False) -> None:
        self._executor, self._watcher, self._fail_fast = executor, watcher, fail_fast
        self._waiting = Waiting()
        self._running: dict[Job, _Running] = {}
        self._reports: dict[int, JobReport] = {}
        self._failed: Job | None = None

    def run(self, jobs: Sequence[Job]) -> dict[Job, JobReport]:
        """Run jobs to their ends; a report of each that was started, by the job."""
        for number, job in enumerate(jobs):
            self._waiting.add(Turn(number, job))
        try:
            while self._waiting or self._running:
                self._start()
                self._take(self._wait())
                self._look_at_clocks()
        finally:  # interrupted: no job is left behind
            _end(self._running, self._executor, self._watcher)
        return {jobs[number]: report for number, report in self._reports.items()}

    def _start(self) -> None:
        while self._waiting:
            running = list(self._running)
            asked: list[Job] = []

            def fits(job: Job, running: list[Job] = running, asked: list[Job] = asked) -> bool:
                asked.append(job)
                return self._executor.fits(job, running)

            try:
                turn = self._waiting.next(fits, time.monotonic())
            except NemesystError as error:  # it never will
                refused = self._waiting.refuse(asked[-1])
                self._over(refused, JobReport(refused.job, error=error, attempts=0))
                continue
            if turn is None:
                return
            self._launch(turn)

    def _launch(self, turn: Turn) -> None:
        job, now = turn.job, time.monotonic()
        running = _Running(turn, now, None if job.timeout is None else now + job.timeout)
        try:
            self._executor.launch(job, _Listening(self._watcher, running))
        except NemesystError as error:
            self._over(turn, JobReport(job, error=error, attempts=turn.attempt))
            return
        self._running[job] = running
        self._watcher.started(job)

    def _wait(self) -> list[JobReport]:
        times = [each.next for each in self._running.values()] + [self._waiting.due]
        known = [moment for moment in times if moment is not None]
        left = max(0.0, min(known) - time.monotonic()) if known else None
        if self._running:
            return self._executor.wait(left)
        if self._waiting:  # for a later attempt, or for room that others take
            time.sleep(_LOOK if left is None else left)
        return []

    def _take(self, reports: Iterable[JobReport]) -> None:
        for report in reports:
            running = self._running.pop(report.job, None)
            if running is not None:  # one that was given up may come late
                self._ended(running, report)

    def _ended(self, running: _Running, report: JobReport) -> None:
        turn = running.turn
        seconds, run = report.seconds or time.monotonic() - running.begun, report.run or running.run
        told = replace(report, attempts=turn.attempt, seconds=seconds, run=run)
        if report.error is not None and running.why is not None:
            told = replace(told, error=_why(running, report.error), transient=False, stopped=self._failed is not None)
        elif report.error is not None and report.transient and turn.attempt <= turn.job.retries and not self._failed:
            seconds = min(_LONGEST, 2.0 ** (turn.attempt - 1))
            self._watcher.again(told, seconds)
            # its own run and no other one: of the same work there may be an old one, over rows of then
            job = replace(turn.job, continues=run or turn.job.continues)
            again = Turn(turn.number, job, turn.attempt + 1)
            self._waiting.later(again, time.monotonic() + seconds)
            return
        self._over(turn, told)

    def _over(self, turn: Turn, report: JobReport) -> None:
        self._reports[turn.number] = report
        self._watcher.ended(report)
        if report.error is not None and self._fail_fast and self._failed is None:
            self._failed = turn.job
            self._waiting.clear()
            for job in self._running:
                self._interrupt(job, f"was stopped, as {turn.job} failed (fail-fast)")

    def _interrupt(self, job: Job, why: str) -> None:
        running = self._running[job]
        if running.ending is None:
            running.why, running.ending = why, time.monotonic()
            self._executor.interrupt(job)

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        for job, running in list(self._running.items()):
            if running.next is None or now < running.next:
                continue
            if running.killed is not None:  # nobody reports it
                del self._running[job]
                self._ended(running, JobReport(job, error=JobError(f"{job} ({job.script}) did not end when killed")))
            elif running.ending is not None:
                running.killed = now
                self._executor.kill(job)
            else:
                self._interrupt(job, f"took longer than {job.timeout:g} s and was ended")


INTERRUPTED = ": interrupted"
"""How the message of a job ends that was interrupted: its script's line stands before it."""


def _why(running: _Running, error: NemesystError) -> JobError:
    """What a job that was ended is said to have ended for, with the line where it was if that is known."""
    job = running.turn.job
    killed = f"; it did not end when asked to, and was killed {_GRACE:g} s later" if running.killed is not None else ""
    where = f"{error.message.removesuffix(INTERRUPTED)}: " if error.message.endswith(INTERRUPTED) else ""
    late = "took longer" in str(running.why)
    remedy = "Give it more time (--timeout), or find out what it waits for." if late else None
    return JobError(f"{where}{job} ({job.script}) {running.why}{killed}", remedy)


def _end(running: dict[Job, _Running], executor: Executor, watcher: Watcher) -> None:
    for job in running:
        executor.interrupt(job)
    begun, told = time.monotonic(), False
    while running and (left := _GRACE - (time.monotonic() - begun)) > 0:
        for report in executor.wait(left if told else min(left, _SOON)):
            running.pop(report.job, None)
        if not told and time.monotonic() - begun >= _SOON:
            told = True
            for job in running:
                watcher.waiting(job)
    for job in running:
        executor.kill(job)
