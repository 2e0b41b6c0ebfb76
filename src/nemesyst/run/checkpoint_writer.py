"""A thread that stores the newest checkpoint, so that training never waits for the database."""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING

from nemesyst.database import is_transient
from nemesyst.errors import NemesystError
from nemesyst.stages import CheckpointWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemesyst.stages import Snapshot

_SHARE = 4.0
"""How many times as long as it wrote the thread rests: one that is asked for more writes all the time otherwise."""
_REST = 30.0
"""The longest rest, in s."""
_FIRST, _LAST = 0.25, 10.0
"""First and longest time between two attempts while the database is away, in s."""


class CheckpointWriter:
    """Stores snapshots, one at a time; one that waits is replaced by a newer one.

    Args:
        store: Stores one; raises what the database raises.
    """

    def __init__(self, store: Callable[[Snapshot], None]) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._waiting: Snapshot | None = None
        self._ending = self._dropping = False
        self._thread: threading.Thread | None = None

    def put(self, snapshot: Snapshot) -> None:
        """Have a snapshot stored soon, unless a newer one comes before."""
        with self._changed:
            self._waiting = snapshot
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="nemesyst-checkpoints", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, seconds: float, *, drop: bool = False) -> bool:
        """End the thread; whether it has ended, and stored all that was to be.

        Args:
            seconds: How long to wait for it.
            drop: Whether what still waits need not be stored.
        """
        with self._changed:
            self._ending = True
            if drop:
                self._waiting, self._dropping = None, True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _work(self) -> None:
        while (snapshot := self._next()) is not None:
            begun = time.monotonic()
            self._store_patiently(snapshot)
            del snapshot  # its memory is needed for the next one
            rest = min(_SHARE * (time.monotonic() - begun), _REST)
            with self._changed:
                self._changed.wait_for(lambda: self._ending, rest)

    def _next(self) -> Snapshot | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ending)
            snapshot, self._waiting = self._waiting, None
            return snapshot

    def _store_patiently(self, snapshot: Snapshot) -> None:
        """Store a snapshot, or a newer one that comes while the database is away."""
        pause = 0.0
        while True:
            try:
                return self._store(snapshot)
            except Exception as error:  # noqa: BLE001 - training does not fail because of its checkpoints
                told = error.message if isinstance(error, NemesystError) else repr(error)
                if not is_transient(error):
                    _warn(f"no checkpoint of step {snapshot.step}: {told}; training goes on")
                    return None
                if not pause:
                    _warn(f"the checkpoint of step {snapshot.step} waits for the database: {told}")
            with self._changed:
                pause = _FIRST if self._ending else min(max(2 * pause, _FIRST), _LAST)
                self._changed.wait_for(lambda: self._waiting is not None or self._dropping, pause)
                if self._dropping:
                    return None
                if self._waiting is not None:
                    snapshot, self._waiting = self._waiting, None


def _warn(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=3)
