"""The ``_id``s that were inserted after the cutoff, and since when: rows to drop from a snapshot."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from nemesyst.database.cutoff.ids import key_of, rows_kept

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import numpy as np


class Excluded:
    """What to drop from a snapshot of one time: whoever was inserted after the cutoff and up to that time.

    A row that was there at the cutoff, was deleted, and was inserted again later than the snapshot, is not in here: the
    snapshot shows the earlier one.

    Attributes:
        time: Of the snapshot, as an integer; the cutoff's own until the snapshot's is known.
        least: The earliest time that the snapshot may have: what had gone before it is forgotten.
    """

    def __init__(self, since: Mapping[Hashable, int], time: int, least: int) -> None:
        self._since = since
        self.time = time
        self.least = least

    def __contains__(self, value: Any) -> bool:
        return self._holds(key_of(value))

    def __len__(self) -> int:
        """How many; takes a pass over all that are known."""
        return sum(time <= self.time for time in list(self._since.values()))

    def keep(self, ids: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows to keep: those whose ``_id`` is not in the set. Booleans of shape (rows,)."""
        return rows_kept(ids, self._holds)

    def _holds(self, key: Hashable) -> bool:
        time = self._since.get(key)
        return time is not None and time <= self.time


class Exclusions:
    """Grows with rows that are inserted, and forgets those that are deleted again as soon as no snapshot shows them.

    One thread at a time changes it; snapshots may be asked meanwhile. Times are integers of the order of cluster times.

    Args:
        cutoff: The time of the cutoff.
    """

    def __init__(self, cutoff: int) -> None:
        self._cutoff = self._forgotten = cutoff
        self._since: dict[Hashable, int] = {}
        self._gone: dict[Hashable, int] = {}
        self._snapshots: weakref.WeakSet[Excluded] = weakref.WeakSet()
        self._lock = threading.Lock()  # a set may not grow while it is gone through

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._since and key not in self._gone

    def snapshot(self) -> Excluded:
        """What to drop from a snapshot that is about to be opened; set its ``time`` when that is known."""
        with self._lock:
            made = Excluded(self._since, self._cutoff, self._forgotten)
            self._snapshots.add(made)
        return made

    def insert(self, key: Hashable, time: int) -> None:
        """A row was inserted; the first time counts, since then every row of this key is another one."""
        self._gone.pop(key, None)
        self._since.setdefault(key, time)

    def delete(self, key: Hashable, time: int) -> None:
        """A row was deleted."""
        if key in self._since:
            self._gone[key] = time

    def forget(self) -> None:
        """Drop those that no snapshot shows any more: deleted before the oldest one that is in use."""
        if not self._gone:
            return
        with self._lock:
            oldest = min((snapshot.time for snapshot in self._snapshots), default=None)
            while self._gone:
                key, time = next(iter(self._gone.items()))
                if oldest is not None and time > oldest:
                    return
                del self._gone[key], self._since[key]
                self._forgotten = time
