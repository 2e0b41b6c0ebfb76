"""From the rows of a chunk to its samples: rows of a part, or windows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import MaxKey, MinKey

from nemesyst.feed.decode.frame import frame
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.table import BY, ON, PART, Table
from nemesyst.feed.windows import ANCHOR, Border, Borders, arranged, carried, gathered, margin
from nemesyst.feed.windows.clock import moved, tick
from nemesyst.feed.windows.margins import is_device

if TYPE_CHECKING:
    from nemesyst.feed.plan import Bound
    from nemesyst.feed.plan.key import Query
    from nemesyst.feed.source import Identify, Source
    from nemesyst.feed.windows import Events, Window
    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]

_SPARE = 8
"""Rows that are asked for beyond a margin, so that a few of one time do not need a second look."""


def samples(table: Table, part: int | None) -> Array | None:
    """Where the samples of a part (None: of all) begin; int64. None: every row is one."""
    parts = table.arrays.get(PART)
    if parts is None:
        return None if not part else np.empty(0, np.int64)
    return np.flatnonzero(parts >= 0 if part is None else parts == part)


def no_samples(source: Source, own: Table) -> Batch:
    """A batch without samples, as rows like a chunk's own would give them."""
    none, window = own.take(slice(0, 0)), source.spec.window
    if window is None:
        return {name: values for name, values in none.arrays.items() if not name.startswith("#")}
    made = arranged(window, none, Borders(), held=source.held)
    return gathered(window, made.table.arrays, made.starts)


class Windowing:
    """Finds the windows of chunks; safe for several threads.

    Args:
        source: Where the rows come from, in the order of (device, time).
        clustered: Whether ``_id`` is {device, time}.
        events: Times around which windows are taken.
    """

    def __init__(self, source: Source, *, clustered: bool, events: Events | None) -> None:
        assert source.spec.window is not None  # noqa: S101 - asked for by whoever has seen it
        self._window: Window = source.spec.window
        self._source, self._rows = source, source.rows
        self._clustered, self._events = clustered, events
        self._margin = margin(self._window)
        self._before: dict[int, int] = {0: 0}
        self._lock = threading.Lock()

    def arranged(self, chunk: int, own: Table, *, ids: Identify | None = None) -> Table:
        """The steps of a chunk, and in ``#part`` the part of the window that begins at each, -1 for none.

        Args:
            chunk: Its number.
            own: Its rows.
            ids: What made the array ``#id`` of its rows, for those of its neighbours; None: there is none.
        """
        borders = self._borders(chunk)
        before = self._ordinal(chunk) if self._window.ordinal else 0
        if isinstance(self._rows, LiveRows):
            pieces = [*self._before_of(self._rows, borders, ids), own, *self._after_of(self._rows, borders, ids)]
        else:
            pieces = [*self._kept_before(chunk, borders, ids), own, *self._kept_after(chunk, borders, ids)]
        tables = [table for table in pieces if table.rows]
        if not tables:
            return Table({})
        whole = Table.joined(tables)
        found = arranged(self._window, whole, borders, before=before, events=self._events, held=self._source.held)
        parts = np.full(found.table.rows, -1, np.int8)
        parts[found.starts] = found.parts
        kept = {ON, BY} if self._window.with_time else set()
        arrays = {name: values for name, values in found.table.arrays.items() if name not in {ON, BY, ANCHOR} - kept}
        return Table({**arrays, PART: parts})

    def _borders(self, chunk: int) -> Borders:
        bounds = self._rows.bounds_of(chunk)
        if bounds is None:
            return Borders()
        low, high = bounds
        start = self._border(low) if chunk else None
        return Borders(start, None if high is None else self._border(high))

    def _border(self, bound: Bound) -> Border:
        by, on = self._window.by, self._window.on
        if self._clustered:
            return Border(None if by is None else bound[0][by], bound[0][on])
        return Border(bound[0] if by is not None else None, bound[-1])

    def _after_of(self, rows: LiveRows, borders: Borders, ids: Identify | None) -> list[Table]:
        stop, wanted = borders.stop, self._margin
        if stop is None or stop.on is None:
            return []
        if wanted.after is not None:
            raws = rows.of(self._device(stop, stop.on, moved(self._window, stop.on, wanted.after)), exact=True)
            return [self._source.table(raws, ids=ids)]
        limit = wanted.steps + _SPARE if wanted.steps else 0
        table = Table({})
        while limit:
            raws = rows.of(self._device(stop, stop.on, None), limit=limit, exact=True)
            table = self._source.table(raws, ids=ids)
            times = table.arrays[ON] if table.rows else np.empty(0)
            limit = wanted.wanted(times, limit, sum(frame(raw.batch).rows for raw in raws))
        return [table]

    def _before_of(self, rows: LiveRows, borders: Borders, ids: Identify | None) -> list[Table]:
        start, wanted = borders.start, self._margin
        if start is None or start.on is None or wanted.before is None:
            return []
        raws = rows.of(self._device(start, moved(self._window, start.on, -wanted.before), start.on), exact=True)
        return [self._source.table(raws, ids=ids)]

    def _kept_after(self, chunk: int, borders: Borders, ids: Identify | None) -> list[Table]:
        """Rows of the device that goes on, out of the chunks that follow."""
        stop, wanted = borders.stop, self._margin
        found: list[Table] = []
        if stop is None or stop.on is None or not (wanted.steps or wanted.after is not None):
            return found
        for number in range(chunk + 1, self._rows.chunks()):
            table = self._source.own(number, ids=ids)
            mine = self._of_device(table, stop)
            if table.rows:
                found.append(table.take(mine))
            times = np.concatenate([each.arrays[ON] for each in found]) if found else np.empty(0)
            if table.rows and not (mine.all() and self._short(times, stop)):
                break
        return found

    def _short(self, times: Array, stop: Border) -> bool:
        """Whether a margin needs rows beyond these times."""
        wanted = self._margin
        if wanted.after is not None:
            return bool(tick(times[-1]) < tick(moved(self._window, stop.on, wanted.after)))
        return len(np.unique(times)) <= wanted.steps

    def _kept_before(self, chunk: int, borders: Borders, ids: Identify | None) -> list[Table]:
        start, wanted = borders.start, self._margin
        found: list[Table] = []
        if start is None or start.on is None or wanted.before is None:
            return found
        least = tick(moved(self._window, start.on, -wanted.before))
        for number in range(chunk - 1, -1, -1):
            table = self._source.own(number, ids=ids)
            mine = self._of_device(table, start)
            if table.rows:
                found.insert(0, table.take(mine))
            if table.rows and not (mine.all() and tick(table.arrays[ON][0]) >= least):
                break
        return found

    def _of_device(self, table: Table, border: Border) -> Array:
        if BY not in table.arrays:
            return np.ones(table.rows, bool)
        devices = table.arrays[BY]
        return np.array([is_device(devices, row, border.by) for row in _changes(devices)], bool)[_runs(devices)]

    def _device(self, border: Border, low: Any, high: Any) -> Query:
        """Rows of a border's device from ``low`` up to, not with, ``high``; None: without end."""
        by, on = self._window.by, self._window.on
        if self._clustered:
            device = {} if by is None else {by: border.by}
            least = {**device, on: MinKey() if low is None else low}
            return {"_id": {"$gte": least, "$lt": {**device, on: MaxKey() if high is None else high}}}
        times = {**({} if low is None else {"$gte": low}), **({} if high is None else {"$lt": high})}
        return {**({} if by is None else {by: {"$eq": border.by}}), on: times}

    def _ordinal(self, chunk: int) -> int:
        """How many steps the device that a chunk begins in has before it."""
        with self._lock:
            known = max(number for number in self._before if number <= chunk)
            for number in range(known, chunk):
                own = self._source.own(number)
                before = self._before[number]
                self._before[number + 1] = carried(self._window, own, self._borders(number), before=before)
            return self._before[chunk]


def _changes(devices: Array) -> Array:
    """Rows at which a device begins."""
    if not len(devices):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], devices[1:] != devices[:-1]]))


def _runs(devices: Array) -> Array:
    """Of each row, which device's run it is in."""
    begins = np.zeros(len(devices), np.int64)
    begins[_changes(devices)[1:]] = 1
    return np.cumsum(begins)
