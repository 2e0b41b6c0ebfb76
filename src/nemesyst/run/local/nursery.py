"""A process that forks one process per job: ``python -m nemesyst.run.local.nursery FD``, at the other end of a socket.

Importing Python's libraries takes most of a job's start; here it is done once. It does nothing else: it has no
connection and no second thread, so that a fork of it is as good as a process of its own.

Requests: ``fork`` (with two descriptors: where the job prints, and where its messages go), ``signal``, ``import``.
Replies: ``ended`` with exit code and memory, ``spoiled`` when an import has started threads.
"""

from __future__ import annotations

import atexit
import gc
import os
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from nemesyst.run.local.channel import receive, send
from nemesyst.run.signals import end_with_parent, kill_with_children, take_signals
from nemesyst.run.threads import limit_threads
from nemesyst.run.wire import to_descriptor
from nemesyst.run.worker import begin

SAFE = frozenset(
    {
        *("nemesyst", "numpy", "pymongo", "bson", "dns", "pydantic", "pydantic_core", "pydantic_settings"),
        *("blake3", "xxhash", "safetensors", "typing_extensions", "torch", "scipy", "sklearn", "pandas"),
    }
)
"""Packages that may be imported before a fork: they start no thread by being imported."""


class Begun(NamedTuple):
    """A job, in the process that was forked for it."""

    description: dict[str, Any]
    environment: dict[str, str]
    output: int
    messages: int
    parent: int


class _Nursery:
    """The loop of the process."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, int]] = {}  # ticket: number and descriptor of the process

    def serve(self) -> Begun | None:
        """Serve until the other end is gone; in each child, its job."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._channel:
                    self._ended(key.data)
                    continue
                request, descriptors = receive(self._channel)
                if request is None:
                    return None
                begun = self._answer(request, descriptors)
                if begun is not None:
                    return begun

    def _answer(self, request: dict[str, Any], descriptors: list[int]) -> Begun | None:
        if "fork" in request:
            return self._fork(request, descriptors)
        if "signal" in request:
            self._signal(request["ticket"], request["signal"])
        elif "import" in request and _import(request["import"]) > 1:
            send(self._channel, {"spoiled": True})
        return None

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> Begun | None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._let_go()
            output, messages = descriptors
            return Begun(request["fork"], request["environment"], output, messages, parent)
        for descriptor in descriptors:
            os.close(descriptor)
        end = os.pidfd_open(pid)
        self._children[request["ticket"]] = (pid, end)
        self._selector.register(end, selectors.EVENT_READ, request["ticket"])
        return None

    def _let_go(self) -> None:
        """In a child: keep nothing of this."""
        self._selector.close()
        self._channel.close()
        for _, end in self._children.values():
            os.close(end)

    def _ended(self, ticket: int) -> None:
        pid, end = self._children.pop(ticket)
        self._selector.unregister(end)
        os.close(end)
        _, status, used = os.wait4(pid, 0)
        code, memory = os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024
        send(self._channel, {"ended": ticket, "code": code, "memory": memory})

    def _signal(self, ticket: int, number: int) -> None:
        pid, _ = self._children.get(ticket, (0, 0))
        if pid and number == signal.SIGKILL:
            kill_with_children(pid)
        elif pid:  # not waited for yet, so its number is still its own
            os.kill(pid, number)


def _import(names: list[str]) -> int:
    """Import modules that a job has used; the threads that there are then."""
    for name in names:
        with suppress(Exception):  # the job that needs it tells why it cannot be imported
            import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that an object lies on
    return len(list(Path("/proc/self/task").iterdir()))


def do(begun: Begun) -> int:
    """The job of a forked process; its exit code."""
    end_with_parent(begun.parent)
    known = set(sys.modules)
    for standard in (1, 2):
        os.dup2(begun.output, standard)
    os.close(begun.output)
    os.set_inheritable(begun.messages, False)  # noqa: FBT003 - it takes no name
    os.environ.clear()
    os.environ.update(begun.environment)
    limit_threads()
    np.random.seed()  # noqa: NPY002 - the global generator, which every child would draw the same from
    take_signals()  # before they are let through
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    tell = to_descriptor(begun.messages)
    code = begin(begun.description, tell)
    used = [name for name in sys.modules if name not in known and name.partition(".")[0] in SAFE]
    if used:
        tell({"used": used})
    return code


def main() -> int:
    """Serve, or do the job of a child."""
    end_with_parent()
    # They reach the whole group of the command; a child takes those that came before it was ready.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    gc.freeze()
    begun = _Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
    if begun is None:
        os._exit(0)  # with it go the jobs that still run
    return _end(do(begun))


def _end(code: int) -> NoReturn:
    """End as the interpreter does, but leave the memory to the kernel: to tidy it up, all of it would be copied."""
    with suppress(KeyboardInterrupt):  # its outcome is told: no more than the end can be cut short
        threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - waits for threads, as at any end
        atexit._run_exitfuncs()  # noqa: SLF001 - as the interpreter itself calls it
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
