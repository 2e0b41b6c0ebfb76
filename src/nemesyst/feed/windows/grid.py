"""Irregular readings on a regular grid: cells of equal length from time 0 on.

A run of readings, each at most ``max_gap`` after the one before, covers every cell from its first reading's to its last
one's. What a cell holds depends on no reading further than the margins of a chunk reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.table import ON, PART, Table
from nemesyst.feed.windows.clock import cells_of, dated, length_of, ticks
from nemesyst.feed.windows.fill import Cover, filled
from nemesyst.feed.windows.names import AGE, ANCHOR, MEASURED, aged, masked
from nemesyst.feed.windows.steps import Steps, changes_of, different

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.windows.spec import Window

Array = np.ndarray[Any, Any]
_SEVERAL = -1
"""The part of a cell whose readings belong to several parts."""


@dataclass(frozen=True)
class _Occupied:
    """Cells that hold readings.

    Attributes:
        firsts: Index of each one's first reading.
        numbers: Number of each cell.
        devices: Whether a device begins with it.
        runs: Whether a run begins with it.
    """

    firsts: Array
    numbers: Array
    devices: Array
    runs: Array

    @property
    def widths(self) -> Array:
        """Cells from each to the next one of its run, itself included."""
        widths = np.ones(len(self.firsts), np.int64)
        widths[:-1] = np.where(self.runs[1:], 1, np.diff(self.numbers))
        return widths


def steps_of_grid(window: Window, table: Table, held: Mapping[str, Sequence[int]] | None = None) -> Steps:
    """The cells of the grid as steps.

    Args:
        window: What a window is; ``every`` is given.
        table: Rows in the order of (device, time, arrival), with ``#on``, and ``#by`` if ``window.by`` is given.
        held: See :func:`arranged`.

    Raises:
        FieldError: Time is neither dates nor numbers, or in another unit than the window's.
    """
    on = table.arrays[ON]
    table, times, fresh = different(table, ticks(window, on))
    occupied = _occupied(window, times, fresh)
    every = length_of(window.every)
    reach = int(length_of(window.max_gap) / every + 1e-9) + 1  # cells between readings that max_gap lets meet
    cover = Cover.of(len(times), occupied.firsts, occupied.widths, occupied.runs, reach)
    numbers = occupied.numbers[cover.sources] + cover.ages
    parts = _parts(table, cover)
    breaks = np.zeros(len(numbers), np.bool_)
    breaks[cover.places[occupied.runs]] = True
    breaks[1:] |= parts[1:] != parts[:-1]
    begins = (numbers * every).astype(np.float64 if times.dtype.kind == "f" or isinstance(every, float) else np.int64)
    arrays = {name: values for name, values in table.arrays.items() if name not in (ON, PART, ANCHOR)}
    made = {ON: dated(begins, on), PART: parts, **_arrays(window, arrays, cover, held or {})}
    devices, runs = cover.places[occupied.devices], np.flatnonzero(breaks)
    return Steps(Table(made), begins, parts, devices, runs, numbers, _changed_cells(table, cover))


def _occupied(window: Window, times: Array, fresh: Array) -> _Occupied:
    cells = cells_of(length_of(window.every), times)
    runs = fresh.copy()
    runs[1:] |= np.diff(times) > length_of(window.max_gap)
    firsts = runs.copy()
    firsts[1:] |= cells[1:] != cells[:-1]
    where = np.flatnonzero(firsts)
    return _Occupied(where, cells[where], fresh[where], runs[where])


def _changed_cells(table: Table, cover: Cover) -> Array | None:
    """Cells with a reading at which the field of an anchor changes, also if it changes back in the same cell."""
    changes = changes_of(table)
    return None if changes is None else np.unique(cover.places[cover.groups[changes]])


def _parts(table: Table, cover: Cover) -> Array:
    """The part of each cell; an empty one has that of its neighbours if they agree."""
    parts = table.arrays.get(PART)
    if parts is None or not len(parts):
        return np.zeros(len(cover.ages), np.int8)
    held = parts[cover.firsts]
    changes = np.flatnonzero(parts[1:] != parts[:-1]) + 1
    inside = changes[cover.firsts[cover.groups[changes]] != changes]  # not at the beginning of a cell
    held[cover.groups[inside]] = _SEVERAL
    between = held.copy()
    between[:-1] = np.where(held[:-1] == held[1:], held[:-1], _SEVERAL)
    made: Array = np.where(cover.ages == 0, held[cover.sources], between[cover.sources])
    return made


def _arrays(
    window: Window, arrays: Mapping[str, Array], cover: Cover, held: Mapping[str, Sequence[int]]
) -> dict[str, Array]:
    made: dict[str, Array] = {}
    for name, values in arrays.items():
        numeric = masked(name) or name == "known"
        result = filled(values, cover, str(window.fill), numeric=numeric, held=held.get(name, ()))
        made[name] = result.values
        if masked(name):
            made[MEASURED + name] = result.measured
        if aged(name) and window.fill == "linear" and values.dtype.kind == "f":
            made[AGE + name] = result.ages
    return made
