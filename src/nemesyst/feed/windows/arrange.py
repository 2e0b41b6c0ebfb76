"""The windows of a chunk: its rows as steps, and where the windows that belong to it begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.table import BY
from nemesyst.feed.windows.anchors import event_steps
from nemesyst.feed.windows.grid import steps_of_grid
from nemesyst.feed.windows.margins import is_device, own_range
from nemesyst.feed.windows.steps import steps_of_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.table import Table
    from nemesyst.feed.windows.anchors import Events
    from nemesyst.feed.windows.margins import Borders
    from nemesyst.feed.windows.spec import Window
    from nemesyst.feed.windows.steps import Steps

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class WindowTable:
    """The windows that begin in a chunk's own interval.

    Attributes:
        table: Steps: rows, or cells of the grid; with those of the margins.
        starts: Index of each window's first step, ascending; shape (windows,), int64.
        parts: Part of the split of each window, index into ``PARTS``; shape (windows,), int8.
    """

    table: Table
    starts: Array
    parts: Array


def arranged(
    window: Window,
    table: Table,
    borders: Borders,
    *,
    before: int = 0,
    events: Events | None = None,
    held: Mapping[str, Sequence[int]] | None = None,
) -> WindowTable:
    """Find the windows of a chunk; over all chunks, wherever their borders are, each window comes once.

    Args:
        window: What a window is.
        table: Rows of the chunk and of its margins in the order of (device, time, arrival): ``#on``, ``#by`` if
            ``window.by`` is given, ``#part`` with a split, ``#anchor`` if ``window.anchor`` is a field, and the
            arrays that batches are made of.
        borders: The chunk's own interval.
        before: Steps that the device of ``borders.start`` has before it; needed where ``window.ordinal`` (see
            :func:`carried`).
        events: Needed where ``window.anchor`` is stages; those of other chunks may be among them.
        held: Columns of arrays whose values a grid never averages, but takes the last of: codes of texts, booleans.

    Raises:
        FieldError: Time is neither dates nor numbers, or in another unit than the window's.
    """
    steps = steps_of_rows(window, table) if window.every is None else steps_of_grid(window, table, held)
    first, stop = own_range(borders, steps.devices, table_devices(steps), steps.times)
    if window.anchor is None:
        starts = np.arange(first, stop)
        if window.stride > 1:
            places = _ordinals(steps, borders, first, before) if steps.cells is None else steps.cells
            starts = starts[places[first:stop] % window.stride == 0]
    else:
        # the event is the first step of the horizon; without one it is the last of the inputs
        starts = event_steps(window, steps, events) - window.length + (window.horizon == 0)
        starts = starts[(starts >= first) & (starts < stop)]
    whole = (starts + window.span <= steps.run_ends[starts]) & (steps.parts[starts] >= 0)
    starts = starts[whole]
    return WindowTable(steps.table, starts, steps.parts[starts])


def carried(window: Window, table: Table, borders: Borders, *, before: int = 0) -> int:
    """``before`` of the next chunk: the steps that the device of ``borders.stop`` has before it.

    Args:
        window: What a window is.
        table: The chunk's rows, as for :func:`arranged`, or nothing at all; only ``#on`` and ``#by`` are looked at.
        borders: The chunk's own interval.
        before: This chunk's own.
    """
    if borders.stop is None or borders.stop.on is None:
        return 0
    same = borders.start is not None and borders.start.on is not None and borders.start.by == borders.stop.by
    if not table.rows:
        return before if same else 0
    steps = steps_of_rows(window, table)
    devices = table_devices(steps)
    if not is_device(devices, -1, borders.stop.by):
        return before if same else 0
    first, stop = own_range(borders, steps.devices, devices, steps.times)
    return stop - max(first, int(steps.devices[-1])) + (before if same else 0)


def table_devices(steps: Steps) -> Array | None:
    """The device of each step; None: all are one."""
    return steps.table.arrays.get(BY)


def _ordinals(steps: Steps, borders: Borders, first: int, before: int) -> Array:
    """The place of each step among those of its device."""
    origins = steps.devices.copy()
    devices = table_devices(steps)
    start = borders.start
    if start is not None and start.on is not None and len(origins) and is_device(devices, 0, start.by):
        origins[0] = first - before
    counts = np.diff(steps.devices, append=len(steps.times))
    made: Array = np.arange(len(steps.times)) - np.repeat(origins, counts)
    return made
