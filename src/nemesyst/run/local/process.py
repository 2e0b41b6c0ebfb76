"""The process of a job on this machine: what it sends, and what became of it."""

from __future__ import annotations

import codecs
import io
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

_LONGEST = 1 << 16
"""A line of output that is longer, in characters, is passed on in pieces."""
_MOST = 4000
"""Characters of an error's message."""
_LAST = 500
"""Characters of each of the last lines, in the message of a job that ended without a word."""


class _Lines:
    """Lines of what comes in pieces, at a cost that is linear in their length.

    Args:
        longest: One that is longer is given out before its end; None: lines stay whole, however long.
    """

    def __init__(self, longest: int | None) -> None:
        self._pieces: list[str] = []
        self._size, self._longest = 0, longest
        text = codecs.getincrementaldecoder("utf-8")("replace")
        # A progress bar ends its lines with a carriage return.
        self._decoder = text if longest is None else io.IncrementalNewlineDecoder(text, translate=True)

    def take(self, data: bytes, *, final: bool = False) -> list[str]:
        """Lines that have ended with this piece; the last one at the end of all."""
        *lines, rest = self._decoder.decode(data, final).split("\n")
        if lines:
            lines[0] = self._whole(lines[0])
        self._pieces.append(rest)
        self._size += len(rest)
        if self._size and (final or (self._longest is not None and self._size > self._longest)):
            lines.append(self._whole(""))
        return lines

    def _whole(self, rest: str) -> str:
        whole = "".join([*self._pieces, rest])
        self._pieces, self._size = [], 0
        return whole


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
        self._lines: dict[IO[bytes], _Lines] = {}
        self._output, output = self._pipe(_LONGEST)
        self._messages, messages = self._pipe(None)
        self.theirs = (output, messages)
        """Descriptors for the process: where it prints, and where its messages go."""

    def _pipe(self, longest: int | None) -> tuple[IO[bytes], int]:
        mine, theirs = os.pipe()
        os.set_blocking(mine, False)
        pipe = os.fdopen(mine, "rb", buffering=0)
        self._lines[pipe] = _Lines(longest)
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
        for line in self._lines[pipe].take(data):
            self._line(pipe, line)
        if not data:
            self._close(pipe)

    def _close(self, pipe: IO[bytes]) -> None:
        rest = self._lines.pop(pipe, None)
        if rest is None:
            return
        for line in rest.take(b"", final=True):
            self._line(pipe, line)
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
        said = (
            f"; it said last: {' / '.join(cut(line, _LAST) for line in self._last_lines)}" if self._last_lines else ""
        )
        return JobError(f"{self.job} ({self.job.script}) {how} before it was done{said}", hint)


def error_of(told: Mapping[str, Any]) -> NemesystError:
    """The error that a job told of."""
    kind = getattr(nemesyst.errors, str(told["kind"]), JobError)
    message, remedy = cut(str(told["message"])), told["remedy"]
    if not issubclass(kind, NemesystError):
        return JobError(message)
    return kind(message, None if remedy is None else cut(str(remedy)))


def cut(text: str, most: int = _MOST) -> str:
    """A text that is no longer than that, with a note where something was cut off."""
    if len(text) <= most:
        return text
    note = f" ... (cut: it has {len(text)} characters)"
    return text[: most - len(note)] + note
