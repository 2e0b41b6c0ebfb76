"""What jobs print is kept and found again, also of those that were killed; and the end of those is recorded.

This is the command's side: it sees the lines of all jobs, and outlives them.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from nemesyst.run.jobs import Job, JobReport, Kind, Watcher
from nemesyst.run.records.following import OUTPUT
from nemesyst.run.records.ops import Amend, Append, Drop, Finish, Op
from nemesyst.run.records.points import bucket_id
from nemesyst.run.records.record import new_id, plain
from nemesyst.run.records.sending import Sender
from nemesyst.run.records.spool import catch_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from nemesyst.hub import Hub

FIRST, LAST = 10_000_000, 1_000_000
"""What is kept of a run's output: so many characters from its beginning, and about so many up to its end."""
_BUCKET = 64_000
"""Characters of a bucket."""
_TICK = 1.0
_SOON = 2.0
"""How long a failed attempt waits for its end to be recorded, so that the next one finds it, in s."""
_END = 30.0


@dataclass
class _Output:
    """What a job has printed, on its way.

    Attributes:
        run: Id of its run; empty until its process has told.
        attempt: Which attempt at it.
        lines: What was not stored yet.
        size: Characters in ``lines``.
    """

    run: str = ""
    attempt: int = 1
    lines: list[str] = field(default_factory=list)
    size: int = 0
    _total: int = 0
    _number: int = 0
    _filled: int = 0
    _count: int = 0
    _recent: dict[str, int] = field(default_factory=dict)

    def add(self, line: str) -> None:
        """Note a line, unless very much waits already."""
        if self.size < (3 * FIRST if self.run else FIRST):  # more than that in a second is nothing to be read
            text = line.encode("utf-8", "replace").decode() + "\n"
            self.lines.append(text)
            self.size += len(text)

    def orders(self) -> Iterator[Op]:
        """What stores the lines that came."""
        lines, self.lines, self.size = self.lines, [], 0
        text = "".join(lines)
        begin = 0
        while begin < len(text):
            end = begin + _BUCKET - self._filled
            if end < len(text):
                whole = text.rfind("\n", begin, end) + 1  # whole lines, but of one that is longer than a bucket
                end = whole or (begin if self._filled else end)
            if begin < end:
                yield from self._piece(text[begin:end])
                begin = end
            if begin < len(text):
                self._number, self._filled, self._count = self._number + 1, 0, 0

    def _piece(self, piece: str) -> Iterator[Op]:
        name = bucket_id(self.run, self.attempt, self._number)
        yield Append(self.run, OUTPUT, name, self._count, 1, {"attempt": self.attempt}, {"pieces": [piece]})
        self._count += 1
        self._filled += len(piece)
        self._total += len(piece)
        if self._total > FIRST:
            self._recent[name] = self._filled
            oldest = next(iter(self._recent))
            if sum(self._recent.values()) - self._recent[oldest] >= LAST:
                del self._recent[oldest]
                yield Drop(self.run, OUTPUT, oldest)


class Kept(Watcher):
    """A watcher that keeps what another one sees: ``with Kept(watcher, hub) as watcher: run_rounds(..., watcher)``.

    Args:
        watcher: The other one.
        hub: The hub that the jobs work on.
        executor: The name of what runs them, for their records.
    """

    def __init__(self, watcher: Watcher, hub: Hub, executor: str = "local") -> None:
        self._watcher, self._hub, self._executor = watcher, hub, executor
        self.command = new_id()
        self._outputs: dict[Job, _Output] = {}
        self._lock = threading.Lock()
        self._orders: list[Op] = []
        self._sender = Sender(hub, f"command-{self.command}")
        self._wake, self._idle, self._over = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="nemesyst-outputs", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for output in list(self._outputs.values()):  # the command was interrupted: what it has killed has not told
            self._end(output, "stopped", {"message": "The command that ran it was interrupted.", "remedy": None})
        self._over = True
        self._wake.set()
        self._thread.join(_END)

    def round(self, kind: Kind, jobs: int) -> None:
        """Tell on."""
        self._watcher.round(kind, jobs)

    def note(self, text: str) -> None:
        """Tell on."""
        self._watcher.note(text)

    def waiting(self, job: Job) -> None:
        """Tell on."""
        self._watcher.waiting(job)

    def started(self, job: Job) -> None:
        """Begin to listen."""
        with self._lock:
            self._outputs.setdefault(job, _Output())
        self._watcher.started(job)

    def output(self, job: Job, line: str) -> None:
        """Keep a line."""
        with self._lock:
            self._outputs.setdefault(job, _Output()).add(line)
        self._watcher.output(job, line)

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Learn which run a job is."""
        if "run" in event:
            with self._lock:
                output = self._outputs.setdefault(job, _Output())
                output.run, output.attempt = str(event["run"]), int(event.get("attempt", 1))
                about = {"command": self.command, "executor": self._executor}
                self._orders.append(Amend(output.run, output.attempt, about))
        self._watcher.progress(job, event)

    def again(self, report: JobReport, seconds: float) -> None:
        """Record the end of the attempt, so that the next one finds it."""
        self._ended(report)
        self._watcher.again(report, seconds)

    def ended(self, report: JobReport) -> None:
        """Record the end, should the job's process not have done so."""
        self._ended(report)
        self._watcher.ended(report)

    def _ended(self, report: JobReport) -> None:
        with self._lock:
            output = self._outputs.get(report.job)
        if output is None:
            return
        if report.error is None:
            self._end(output, "done", None, {"memory": report.memory} if report.memory else {})
        else:
            error = {"kind": type(report.error).__name__, "message": report.error.message}
            late = report.job.timeout is not None and report.seconds >= report.job.timeout
            status = "stopped" if report.stopped else "failed"
            self._end(output, status, {**error, "remedy": report.error.remedy}, instead=late)
            self._flush()
        with self._lock:
            del self._outputs[report.job]

    def _end(
        self,
        output: _Output,
        status: str,
        error: Mapping[str, Any] | None,
        known: Mapping[str, Any] | None = None,
        *,
        instead: bool = False,
    ) -> None:
        if not output.run:
            return
        values = {**(known or {}), **({} if error is None else {"error": plain(error)})}
        with self._lock:
            self._orders += output.orders()
            if known:
                self._orders.append(Amend(output.run, output.attempt, dict(known)))
            self._orders.append(Finish(output.run, output.attempt, status, time.time(), values, instead))

    def _flush(self) -> None:
        self._idle.clear()
        self._wake.set()
        self._idle.wait(_SOON)

    def _work(self) -> None:
        with suppress(Exception):  # what others left is no reason to keep nothing of these
            catch_up(self._hub)
        while not self._over:
            self._wake.wait(_TICK)
            self._wake.clear()
            self._send()
            self._idle.set()
        self._send()
        with suppress(Exception):  # as there
            self._sender.close()

    def _send(self) -> None:
        with self._lock:
            orders, self._orders = self._orders, []
            for output in self._outputs.values():
                if output.run and output.lines:
                    orders += output.orders()
        with suppress(Exception):  # a command does not fail because of what it keeps
            self._sender.send(orders)
