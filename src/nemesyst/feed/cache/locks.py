"""File locks (``flock``) of the cache: they end with the processes that hold them, however they end.

A lock is given up by closing its descriptor, never by unlocking: a descriptor that a forked child inherited belongs to
the same lock, so unlocking in the child would take the lock from its parent. Closing in the child leaves it held.
"""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemesyst.descriptors import passed, passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL = 0.001  # s


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
    (descriptor,) = passed(lambda: (opened(),))
    with passing(descriptor):  # a child that is forked meanwhile would hold the lock
        end = time.monotonic() + seconds
        while not seize(descriptor):
            if time.monotonic() > end:
                raise TimeoutError("another process holds the lock of the cache, and has been stopped or hangs")
            time.sleep(_POLL)
        yield


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
