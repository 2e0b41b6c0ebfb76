"""The process of a job on this machine: what it sends, and what became of it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import nemesyst.errors
from nemesyst.errors import JobError, NemesystError
from nemesyst.run.jobs import Job, JobReport, Watcher
from nemesyst.stages import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class LocalProcess:
    """What is known of a job's process, whoever started it.

    Args:
        job: The job.
        watcher: Gets what the job tells.
        selector: Waits for what is to be read; calls what it finds.
        used: Called with the names of the modules that the job has imported.
    """

    def __init__(
        self, job: Job, watcher: Watcher, selector: selectors.BaseSelector, used: Callable[[list[str]], None]
    ) -> None:
        self.job = job
        self.ended = False
        self.signal: Callable[[int], None] = lambda _: None
        """Sends the process a signal; given by who starts it."""
        self._watcher, self._selector, self._used = watcher, selector, used
        self._begun = time.monotonic()
        self._outcome: Outcome | None = None
        self._error: NemesystError | None = None
        self._transient = False
        self._run = ""
        self._code = 0
        self._memory: int | None = None
        self._last_lines: list[str] = []
        self._lines: dict[IO[bytes], bytes] = {}
        self._output, output = self._pipe()
        self._messages, messages = self._pipe()
        self.theirs = (output, messages)
        """Descriptors for the process: where it prints, and where its messages go."""

    def _pipe(self) -> tuple[IO[bytes], int]:
        mine, theirs = os.pipe()
        os.set_blocking(mine, False)
        pipe = os.fdopen(mine, "rb", buffering=0)
        self._lines[pipe] = b""
        self._selector.register(pipe, selectors.EVENT_READ, self._read)
        return pipe, theirs

    def started(self) -> None:
        """The process has its descriptors."""
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs = (-1, -1)

    def failed(self, error: NemesystError) -> None:
        """It could not be started."""
        self.started()
        self._error = error
        self.finish(1, None)

    def finish(self, code: int, memory: int | None) -> None:
        """The process has ended: take what it has left in its pipes, and let go of them: a child may hold them yet.

        Args:
            code: Its exit code; a signal's number, negative.
            memory: Largest resident memory, in bytes.
        """
        self._code, self._memory = code, memory
        for pipe in list(self._lines):
            with suppress(BlockingIOError):
                while pipe in self._lines:
                    self._take(pipe)
            self._close(pipe)
        self.ended = True

    def _read(self, pipe: Any) -> None:
        if pipe in self._lines:  # not closed by an event that came with this one
            with suppress(BlockingIOError):
                self._take(pipe)

    def _take(self, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), 1 << 16)
        *lines, rest = (self._lines[pipe] + data).split(b"\n")
        for line in lines:
            self._line(pipe, line.decode(errors="replace"))
        self._lines[pipe] = rest
        if not data:
            self._close(pipe)

    def _close(self, pipe: IO[bytes]) -> None:
        rest = self._lines.pop(pipe, None)
        if rest is None:
            return
        if rest:
            self._line(pipe, rest.decode(errors="replace"))
        self._selector.unregister(pipe)
        pipe.close()

    def _line(self, pipe: object, line: str) -> None:
        if pipe is not self._messages:
            self._last_lines = [*self._last_lines[-4:], line]
            self._watcher.output(self.job, line)
            return
        try:
            self._message(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):  # the function wrote where only we should
            self._watcher.output(self.job, line)

    def _message(self, message: dict[str, Any]) -> None:
        if "done" in message:
            self._outcome = Outcome(**message["done"])
        elif "failed" in message:
            self._error, self._transient = error_of(message["failed"]), bool(message["failed"].get("transient"))
        elif "used" in message:
            self._used([str(name) for name in message["used"]])
        elif "note" in message:
            self._watcher.output(self.job, str(message["note"]))
        else:
            self._run = str(message.get("run", self._run))
            self._watcher.progress(self.job, message)

    def report(self) -> JobReport:
        """What became of the job, after its end."""
        error, transient = self._error, self._transient
        if error is None and self._outcome is None:
            killed = self._code == -signal.SIGKILL
            how = (
                f"was killed by {signal.Signals(-self._code).name}"
                if self._code < 0
                else f"ended with code {self._code}"
            )
            error, transient = self._untold(how, killed=killed), killed
        return JobReport(
            self.job,
            self._outcome if error is None else None,
            error,
            run=self._run,
            seconds=time.monotonic() - self._begun,
            memory=self._memory,
            transient=transient,
        )

    def _untold(self, how: str, *, killed: bool) -> JobError:
        hint = "The machine may be out of memory." if killed else None
        said = f"; it said last: {' / '.join(self._last_lines)}" if self._last_lines else ""
        return JobError(f"{self.job} ({self.job.script}) {how} before it was done{said}", hint)


def error_of(told: Mapping[str, Any]) -> NemesystError:
    """The error that a job told of."""
    kind = getattr(nemesyst.errors, str(told["kind"]), JobError)
    return kind(told["message"], told["remedy"]) if issubclass(kind, NemesystError) else JobError(told["message"])
