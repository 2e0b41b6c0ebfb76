"""Two ways to start a job's process: forked from one that is ready, or by itself."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

from nemesyst.run.local.channel import receive, send
from nemesyst.run.signals import kill_with_children
from nemesyst.run.threads import waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.run.local.process import LocalProcess

_LEAVING = 2.0
"""How long the process that forks may take to end, in s: it may be importing."""

CAN_WATCH = hasattr(os, "pidfd_open")
"""Whether the system tells of a process's end."""
CAN_FORK = CAN_WATCH and sys.platform == "linux"
"""Whether processes may be forked from one that is ready."""


class Forks:
    """The near end of a nursery: one process that forks the jobs' ones.

    Args:
        selector: Waits for what is to be read; calls what it finds.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._running: dict[int, LocalProcess] = {}
        self._next = 0
        self.gone = False
        """Whether it has ended."""
        self.spoiled = False
        """Whether an import has started a thread in it."""
        self._channel, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemesyst.run.local.nursery", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # One thread, so that it can be forked; each job is told how many to use.
            env={**os.environ, **waiting(), "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        theirs.close()
        selector.register(self._channel, selectors.EVENT_READ, self._reply)

    def start(self, process: LocalProcess, description: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Fork a process for a job.

        Raises:
            OSError: The nursery is gone.
        """
        ticket, self._next = self._next, self._next + 1
        request = {"fork": description, "environment": dict(environment), "ticket": ticket}
        send(self._channel, request, process.theirs)
        process.started()
        process.signal = lambda number: self._ask({"signal": number, "ticket": ticket})
        self._running[ticket] = process

    def warm(self, modules: list[str]) -> None:
        """Have the next jobs find modules imported."""
        self._ask({"import": modules})

    def _ask(self, request: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it is gone: its end is on its way to us
            send(self._channel, request)

    def _reply(self, _: object) -> None:
        message, _ = receive(self._channel)
        if message is None:
            self._gone()
        elif "ended" in message:
            self._running.pop(message["ended"]).finish(message["code"], message["memory"])
        elif "spoiled" in message:
            self.spoiled = True

    def _gone(self) -> None:
        """It was killed, and all that it had forked with it."""
        self.gone = True
        self._selector.unregister(self._channel)
        for process in self._running.values():
            process.finish(-signal.SIGKILL, None)
        self._running.clear()

    def close(self) -> None:
        """End it, after what it was asked for before, and with it whatever it has forked."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()


class Spawned:
    """A process by itself; holds on to it until its end.

    Args:
        process: What it is for.
        description: The job.
        environment: Its environment.
        selector: Waits for what is to be read; calls what it finds.
    """

    def __init__(
        self,
        process: LocalProcess,
        description: Mapping[str, Any],
        environment: Mapping[str, str],
        selector: selectors.BaseSelector,
    ) -> None:
        self._process, self._selector = process, selector
        output, messages = process.theirs
        alive = None if CAN_WATCH else os.pipe()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "nemesyst.run.worker", str(messages)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=[messages, *(alive or ())[1:]],
            env={**environment, "PYTHONUNBUFFERED": "1"},
        )
        process.started()
        process.signal = self._signal
        stdin = cast("IO[bytes]", self._popen.stdin)
        with suppress(BrokenPipeError):  # it died at once; its output and exit code tell why
            stdin.write(json.dumps(description).encode())
            stdin.close()
        self._end = self._watch_end(alive)

    def _watch_end(self, alive: tuple[int, int] | None) -> IO[bytes]:
        """Something that can be read when the process has ended, whoever else holds its pipes."""
        if alive is not None:  # a pipe that the process holds the other end of, unless it hands it on to a fork
            os.close(alive[1])
        descriptor = os.pidfd_open(self._popen.pid) if alive is None else alive[0]
        end = os.fdopen(descriptor, "rb", buffering=0)
        self._selector.register(end, selectors.EVENT_READ, self._ended)
        return end

    def _ended(self, _: object) -> None:
        self._selector.unregister(self._end)
        self._end.close()
        _, status, used = os.wait4(self._popen.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024
        self._process.finish(self._popen.returncode, used.ru_maxrss * unit)

    def _signal(self, number: int) -> None:
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                kill_with_children(self._popen.pid) if number == signal.SIGKILL else os.kill(self._popen.pid, number)
