"""The local executor: processes of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, cast

import nemesyst.errors
from nemesyst.errors import JobError, NemesystError
from nemesyst.run.jobs import Executor, Job, JobReport, Watcher
from nemesyst.stages import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
from contextlib import suppress

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SOON = 2.0
"""How long an interrupted job may take without a word about it, in s."""
_GRACE = 10.0
"""How long an interrupted job may take to end, in s."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalExecutor(Executor):
    """Runs jobs as processes, at most so many at a time.

    Args:
        settings: Settings for each job, as values; secrets go through a pipe, never the command line.
        processes: Jobs side by side; None: the number of cores.
    """

    def __init__(self, settings: Mapping[str, Any], processes: int | None = None) -> None:
        self._settings = dict(settings)
        self._processes = processes or cores()

    def run(self, jobs: Sequence[Job], watcher: Watcher) -> list[JobReport]:
        """See :meth:`Executor.run`."""
        waiting = list(jobs)
        side_by_side = min(self._processes, len(waiting))
        running: list[_Process] = []
        reports: dict[Job, JobReport] = {}
        selector = selectors.DefaultSelector()
        try:
            while waiting or running:
                while waiting and len(running) < side_by_side:
                    job = waiting.pop(0)
                    running.append(_Process(job, self._settings, _environment(side_by_side), selector))
                    watcher.started(job)
                for key, _ in selector.select():
                    key.data.read(key.fileobj, watcher)
                for process in [process for process in running if process.closed]:
                    running.remove(process)
                    report = process.report()
                    reports[report.job] = report
                    watcher.ended(report)
        finally:  # interrupted: no job is left behind
            _end(running, watcher)
            selector.close()
        return [reports[job] for job in jobs]


def _environment(side_by_side: int) -> dict[str, str]:
    # Processes side by side share the cores instead of each taking all of them.
    threads = str(max(1, cores() // side_by_side))
    shared = {name: os.environ.get(name, threads) for name in _THREADS} if side_by_side > 1 else {}
    # Threads that wait by spinning make two trainings on the same cores six times as slow as one after the other.
    waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    return {**os.environ, **shared, **waiting, "PYTHONUNBUFFERED": "1"}


def _end(processes: Sequence[_Process], watcher: Watcher) -> None:
    for process in processes:
        process.interrupt()
    for process in processes:
        if not process.ends_within(_SOON):
            watcher.waiting(process.job)
            if not process.ends_within(_GRACE):
                process.kill()


class _Process:
    """A job's process and what it sends."""

    def __init__(
        self, job: Job, settings: Mapping[str, Any], environment: Mapping[str, str], selector: selectors.BaseSelector
    ) -> None:
        self.job = job
        self._selector = selector
        self._outcome: Outcome | None = None
        self._error: NemesystError | None = None
        self._last_lines: list[str] = []
        mine, theirs = os.pipe()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "nemesyst.run.worker", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=[theirs],
            env=dict(environment),
        )
        os.close(theirs)
        self._messages: IO[bytes] = os.fdopen(mine, "rb", buffering=0)
        self._lines: dict[IO[bytes], bytes] = {}
        self._describe(settings)
        for pipe in (self._messages, cast("IO[bytes]", self._popen.stdout)):
            os.set_blocking(pipe.fileno(), False)
            self._lines[pipe] = b""
            selector.register(pipe, selectors.EVENT_READ, self)
        self._end = self._watch_end()

    def _describe(self, settings: Mapping[str, Any]) -> None:
        description = {"script": str(self.job.script), "name": self.job.name, "settings": settings}
        stdin = cast("IO[bytes]", self._popen.stdin)
        try:
            stdin.write(json.dumps(description).encode())
            stdin.close()
        except BrokenPipeError:  # it died at once; its output and exit code tell why
            self._last_lines.append("it ended before it could start")

    def _watch_end(self) -> IO[bytes] | None:
        """Something that can be read when the process has ended, whoever else holds its pipes (Linux)."""
        if not hasattr(os, "pidfd_open"):
            return None
        end = os.fdopen(os.pidfd_open(self._popen.pid), "rb", buffering=0)
        self._selector.register(end, selectors.EVENT_READ, self)
        return end

    @property
    def closed(self) -> bool:
        """Whether the process has ended, and all that it sent was taken."""
        return not self._lines and self._end is None

    def read(self, pipe: Any, watcher: Watcher) -> None:
        """Take what is there."""
        if pipe is self._end:
            self._finish(watcher)
        elif pipe in self._lines:  # not closed by an event that came with this one
            self._take(pipe, watcher)

    def _finish(self, watcher: Watcher) -> None:
        """Take what the ended process has left in its pipes, and let go of them: a child of its may hold them yet."""
        for pipe in list(self._lines):
            with suppress(BlockingIOError):
                while pipe in self._lines:
                    self._take(pipe, watcher)
            self._close(pipe, watcher)
        if self._end is not None:
            self._selector.unregister(self._end)
            self._end.close()
            self._end = None

    def _take(self, pipe: IO[bytes], watcher: Watcher) -> None:
        data = os.read(pipe.fileno(), 1 << 16)
        *lines, rest = (self._lines[pipe] + data).split(b"\n")
        for line in lines:
            self._line(pipe, line.decode(errors="replace"), watcher)
        self._lines[pipe] = rest
        if not data:
            self._close(pipe, watcher)

    def _close(self, pipe: IO[bytes], watcher: Watcher) -> None:
        rest = self._lines.pop(pipe, None)
        if rest is None:
            return
        if rest:
            self._line(pipe, rest.decode(errors="replace"), watcher)
        self._selector.unregister(pipe)
        pipe.close()

    def _line(self, pipe: object, line: str, watcher: Watcher) -> None:
        if pipe is not self._messages:
            self._last_lines = [*self._last_lines[-4:], line]
            watcher.output(self.job, line)
            return
        try:
            self._message(json.loads(line), watcher)
        except (ValueError, TypeError, KeyError, AttributeError):  # the function wrote where only we should
            watcher.output(self.job, line)

    def _message(self, message: dict[str, Any], watcher: Watcher) -> None:
        if "done" in message:
            self._outcome = Outcome(**message["done"])
        elif "failed" in message:
            failed = message["failed"]
            kind = getattr(nemesyst.errors, failed["kind"], JobError)
            self._error = kind(failed["message"], failed["remedy"])
        else:
            watcher.progress(self.job, message)

    def report(self) -> JobReport:
        """What became of the job, after its end."""
        code = self._popen.wait()
        if self._error is None and self._outcome is None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            hint = "The machine may be out of memory." if code == -signal.SIGKILL else None
            said = f"; it said last: {' / '.join(self._last_lines)}" if self._last_lines else ""
            self._error = JobError(f"{self.job} ({self.job.script}) {how} before it was done{said}", hint)
        return JobReport(self.job, self._outcome if self._error is None else None, self._error)

    def interrupt(self) -> None:
        """Ask the process to end."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGINT)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends within so long."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()
