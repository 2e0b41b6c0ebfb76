"""What a job's process on a cluster tells the command: lists of events, each a name and a value."""

from __future__ import annotations

import os
import selectors
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nemesyst.run.jobs import Job, JobReport, Watcher
from nemesyst.run.local.process import LocalProcess, error_of
from nemesyst.stages import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Event = tuple[str, Any]
"""``begun``, ``output`` (a line), ``progress`` (a message), ``ended`` (a report)."""

_PAUSE = 0.05
"""Time between two lists of events, in s."""


class Collected(Watcher):
    """Keeps what it sees, as events."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def output(self, job: Job, line: str) -> None:  # noqa: ARG002 - the watcher's signature
        """Keep a line."""
        self._events.append(("output", line))

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:  # noqa: ARG002 - the watcher's signature
        """Keep a message."""
        self._events.append(("progress", dict(event)))

    def take(self) -> list[Event]:
        """What has come since."""
        events, self._events = self._events, []
        return events


def told_by(process: LocalProcess, collected: Collected, selector: selectors.BaseSelector) -> Iterator[list[Event]]:
    """What a job's process tells, until its end; the last event is its report."""
    yield [("begun", os.getpid())]
    told = time.monotonic()
    events: list[Event] = []
    while not process.ended:
        for key, _ in selector.select(max(0.0, told + _PAUSE - time.monotonic()) if events else None):
            key.data(key.fileobj)
        events += collected.take()
        if events and time.monotonic() - told >= _PAUSE:
            yield events
            events, told = [], time.monotonic()
    yield [*events, *collected.take(), ("ended", described(process.report()))]


def described(report: JobReport) -> dict[str, Any]:
    """A report as plain values."""
    error = report.error
    kind = None if error is None else type(error).__name__
    return {
        "outcome": None if report.outcome is None else asdict(report.outcome),
        "error": None if error is None else {"kind": kind, "message": error.message, "remedy": error.remedy},
        "run": report.run,
        "memory": report.memory,
        "transient": report.transient,
    }


def report_of(job: Job, told: Mapping[str, Any], seconds: float) -> JobReport:
    """The report that :func:`described` described."""
    return JobReport(
        job,
        None if told["outcome"] is None else Outcome(**told["outcome"]),
        None if told["error"] is None else error_of(told["error"]),
        run=told["run"],
        seconds=seconds,
        memory=told["memory"],
        transient=told["transient"],
    )


class Words:
    """Listens, in a thread of its own, for the words that the command has for a job.

    Args:
        board: The board, as an actor.
        ticket: The job's.
        heed: Called with each word, in that thread.
    """

    def __init__(self, board: Any, ticket: str, heed: Callable[[str], None]) -> None:
        self._board, self._ticket, self._heed = board, ticket, heed
        self._over = False
        self._thread = threading.Thread(target=self._listen, name="nemesyst-words", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        import ray

        seen = 0
        with suppress(ray.exceptions.RayError, OSError):  # the command is gone; so are we, soon
            while not self._over:
                words = ray.get(self._board.asked.remote(self._ticket, seen))
                seen += len(words)
                for word in words:
                    if not self._over:
                        self._heed(word)

    def end(self) -> None:
        """Listen no more; the thread ends with its next answer."""
        self._over = True


class Bell:
    """Wakes a loop that waits with a selector, from any thread, and has it call something.

    Args:
        selector: The loop's.
        ring: Called in the loop, with each value.
    """

    def __init__(self, selector: selectors.BaseSelector, ring: Callable[[Any], None]) -> None:
        self._selector, self._ring = selector, ring
        self._values: list[Any] = []
        self._reader, self._writer = os.pipe()
        selector.register(self._reader, selectors.EVENT_READ, self._answer)

    def __call__(self, value: Any) -> None:
        """Have the loop called with a value."""
        self._values.append(value)
        with suppress(OSError):  # nobody waits any more
            os.write(self._writer, b"!")

    def _answer(self, _: object) -> None:
        for _ in os.read(self._reader, 1 << 10):
            self._ring(self._values.pop(0))

    def close(self) -> None:
        """The loop is over."""
        self._selector.unregister(self._reader)
        os.close(self._reader)
        os.close(self._writer)
