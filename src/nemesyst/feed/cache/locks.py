"""File locks (``flock``) of the cache: they end with the processes that hold them, however they end.

A lock is given up by closing its descriptor, never by unlocking: a descriptor that a forked child inherited belongs to
the same lock, so unlocking in the child would take the lock from its parent. Closing in the child leaves it held.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL = 0.001  # s

_passing: set[int] = set()
"""Descriptors of locks held for a moment: a child that is forked meanwhile closes them, or it would hold the lock."""

_forking = threading.RLock()
"""Held during a fork, and while a descriptor is open but not yet, or no longer, among those."""


def share(descriptor: int) -> bool:
    """Take the shared lock if that needs no waiting; it lasts as long as the descriptor, in children too."""
    return _try(descriptor, fcntl.LOCK_SH)


def seize(descriptor: int) -> bool:
    """Take the exclusive lock if that needs no waiting."""
    return _try(descriptor, fcntl.LOCK_EX)


@contextmanager
def briefly(opened: Callable[[], int], seconds: float) -> Iterator[None]:
    """Hold the exclusive lock inside a ``with``, on a file that is opened for it.

    Raises:
        TimeoutError: The lock was not to be had in ``seconds``: its holder has been stopped.
        OSError: The file cannot be opened.
    """
    with _forking:
        descriptor = opened()
        _passing.add(descriptor)
    try:
        end = time.monotonic() + seconds
        while not seize(descriptor):
            if time.monotonic() > end:
                raise TimeoutError("another process holds the lock of the cache, and has been stopped or hangs")
            time.sleep(_POLL)
        yield
    finally:
        with _forking:
            _passing.discard(descriptor)
            os.close(descriptor)


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _before_fork() -> None:
    _forking.acquire()


def _after_fork() -> None:
    _forking.release()


def _forget_in_child() -> None:
    global _forking  # noqa: PLW0603 - the child's own: who holds the old one is not here to release it
    _forking = threading.RLock()
    for descriptor in _passing:
        with suppress(OSError):
            os.close(descriptor)
    _passing.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forget_in_child)
