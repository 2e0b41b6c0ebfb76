"""How a job's process takes signals, and ends with who started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130
"""Exit code of a job that was interrupted."""

_job = 0
"""The process that the handlers were set up in."""


def take_signals() -> None:
    """Have Ctrl-C and SIGTERM raise ``KeyboardInterrupt`` once; later ones do not cut the clean end short."""
    global _job  # noqa: PLW0603 - a process has one set of handlers
    if not _job:
        os.register_at_fork(after_in_child=_end_as_others_do)
    _job = os.getpid()
    signal.signal(signal.SIGINT, _interrupt_once)
    signal.signal(signal.SIGTERM, _interrupt_once)


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux).

    Args:
        parent: The parent's number, to see whether it has died before; None: it is not known.
    """
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(INTERRUPTED)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _job:  # a child that was forked this very moment
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    # Ctrl-C reaches us from the terminal and from our parent: the second must not cut the clean end short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if _at_exit(frame):  # the work is over: nobody catches it any more, and its traceback would tell nothing
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(INTERRUPTED)
    raise KeyboardInterrupt(number)


def _at_exit(frame: FrameType | None) -> bool:
    """Whether the interpreter waits for threads before it ends."""
    while frame is not None:
        if frame.f_code.co_name == "_shutdown" and frame.f_globals is vars(threading):
            return True
        frame = frame.f_back
    return False


def _end_as_others_do() -> None:
    """In a child of the function's own, forked: signals end it at once, as it is none of ours.

    A handler in Python would wait for the child's next step, which one that waits for a lock may never take.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _interrupt_once:
            signal.signal(number, signal.SIG_DFL)


def kill_with_children(pid: int) -> None:
    """End a process at once, and what it has started, except what has begun a session of its own (Linux)."""
    doomed = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    for child in doomed:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Processes of the same session that a process has started, and those that they have (Linux)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == os.getsid(pid):  # a database that it has started is others' too
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, following = [], [pid]
    while following:
        children = parents.get(following.pop(), [])
        found += children
        following += children
    return found
