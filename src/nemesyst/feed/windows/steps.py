"""Rows as the steps of windows: one for each device and time, in runs that a window may lie in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.table import BY, ON, PART, Table
from nemesyst.feed.windows.clock import length_of, ticks
from nemesyst.feed.windows.names import ANCHOR

if TYPE_CHECKING:
    from nemesyst.feed.windows.spec import Window

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Steps:
    """The steps that a chunk's windows are made of.

    Attributes:
        table: Their arrays.
        times: Time of each by ``ticks``; with ``every`` that of the cell's beginning.
        parts: Part of the split of each, int8; -1: of several parts at once.
        devices: Index of each device's first step; int64.
        runs: Index of each run's first step: behind it begins a device, a gap or a part; int64.
        cells: Number of each grid cell; None without ``every``.
        changes: Steps at which the field of ``anchor`` changes, rising, int64; None where it is no field.
    """

    table: Table
    times: Array
    parts: Array
    devices: Array
    runs: Array
    cells: Array | None = None
    changes: Array | None = None

    @property
    def run_ends(self) -> Array:
        """For each step the index behind its run's last step."""
        lengths = np.diff(self.runs, append=len(self.times))
        return np.repeat(self.runs + lengths, lengths)


def steps_of_rows(window: Window, table: Table) -> Steps:
    """The rows themselves as steps; of rows with the same device and time the last one.

    Args:
        window: What a window is.
        table: Rows in the order of (device, time, arrival), with ``#on``, and ``#by`` if ``window.by`` is given.

    Raises:
        FieldError: Time is neither dates nor numbers, or in another unit than the window's.
    """
    table, times, fresh = different(table, ticks(window, table.arrays[ON]))
    parts = table.arrays.get(PART)
    if parts is None:
        parts = np.zeros(len(times), np.int8)
    breaks = fresh.copy()
    breaks[1:] |= parts[1:] != parts[:-1]
    if window.max_gap is not None:
        breaks[1:] |= np.diff(times) > length_of(window.max_gap)
    return Steps(table, times, parts, np.flatnonzero(fresh), np.flatnonzero(breaks), changes=changes_of(table))


def different(table: Table, times: Array) -> tuple[Table, Array, Array]:
    """The last row of each device and time; its time, and whether it is its device's first (bool)."""
    rows = len(times)
    fresh = np.zeros(rows, np.bool_)
    fresh[:1] = True
    if BY in table.arrays:
        devices = table.arrays[BY]
        fresh[1:] = devices[1:] != devices[:-1]
    again = (times[1:] == times[:-1]) & ~fresh[1:]  # a row whose device and time the row before it has
    if not again.any():
        return table, times, fresh
    kept = np.flatnonzero(np.append(~again, True))
    groups = np.flatnonzero(np.append(True, ~again))
    return table.take(kept), times[kept], fresh[groups]


def changes_of(table: Table) -> Array | None:
    """Rows in which the field of an anchor is another than in the row before, int64; None without such a field.

    The first row of a device may be among them: no window reaches back across it.
    """
    values = table.arrays.get(ANCHOR)
    if values is None:
        return None
    changed = np.zeros(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    if values.dtype.kind == "f":
        changed[1:] &= ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    return np.flatnonzero(changed)
