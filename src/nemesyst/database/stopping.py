"""Ending the reads of threads from outside: nobody waits any more for what they read.

A thread that reads for somebody works in a :class:`Stopper`. Whatever waits in it (for a server that does not answer,
for its turn under a rate) asks here, and is ended by :class:`StoppedError`.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_here = threading.local()


class StoppedError(Exception):
    """Nobody waits for what this thread reads; never reaches a user."""


class Stopper:
    """What some threads read for one reader, to be ended together."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._reading: dict[int, Callable[[], None]] = {}
        self._left: dict[int, Callable[[], None]] = {}

    @contextmanager
    def here(self) -> Iterator[None]:
        """What this thread does inside is ended by :meth:`stop`."""
        before = getattr(_here, "stopper", None)
        _here.stopper = self
        try:
            yield
        finally:
            _here.stopper = before

    def stop(self) -> None:
        """End whatever waits, now and later."""
        self._stopped.set()

    def interrupt(self) -> None:
        """End what the server is busy with; returns at once, since a server that hangs does not answer this either."""
        with self._lock:
            reading = list(self._reading.values())
        for end in reading:
            threading.Thread(target=_quietly, args=(end,), name="nemesyst-interrupt", daemon=True).start()

    def finish(self) -> None:
        """Close what the threads have left open for each other."""
        with self._lock:
            left, self._left = list(self._left.values()), {}
        for end in left:
            end()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is stopped; whether it was."""
        return self._stopped.wait(seconds)

    @contextmanager
    def reading(self, end: Callable[[], None]) -> Iterator[None]:
        """``end``, called in another thread, ends what is done inside."""
        with self._lock:
            self._reading[id(end)] = end
        try:
            yield
        finally:
            with self._lock:
                del self._reading[id(end)]

    def leave(self, owner: object, end: Callable[[], None]) -> None:
        """Call ``end`` once for its owner when all threads have ended."""
        with self._lock:
            self._left[id(owner)] = end


def current() -> Stopper | None:
    """What this thread reads for; None: for itself."""
    found: Stopper | None = getattr(_here, "stopper", None)
    return found


def check() -> None:
    """Raise if nobody waits for what this thread reads.

    Raises:
        StoppedError: Nobody does.
    """
    pause(0)


def pause(seconds: float) -> None:
    """Wait so many s.

    Raises:
        StoppedError: Nobody waits any more for what this thread reads.
    """
    stopper = current()
    if stopper is None:
        if seconds:
            time.sleep(seconds)
    elif stopper.wait(seconds):
        raise StoppedError


@contextmanager
def regardless() -> Iterator[None]:
    """Tidy up, also when nobody waits any more."""
    before, _here.stopper = current(), None
    try:
        yield
    finally:
        _here.stopper = before


def _quietly(end: Callable[[], None]) -> None:
    with suppress(Exception):  # whoever reads is told by its own call
        end()
