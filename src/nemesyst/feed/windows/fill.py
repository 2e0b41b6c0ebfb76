"""Which value a cell of the grid has: that of its readings, or one from the cells around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cover:
    """How readings cover cells; *occupied* cells hold readings, the empty ones between them are filled.

    Attributes:
        groups: For each reading the index of its occupied cell.
        firsts: For each occupied cell the index of its first reading.
        lasts: For each occupied cell the index of its last reading.
        places: For each occupied cell its index among all cells.
        sources: For each cell the index of the occupied cell at or before it, in the same run.
        ages: For each cell how many cells ago that one was; 0: it is occupied itself.
        widths: For each occupied cell how many cells on the next one of its run is; 1 where the run ends.
        begins: For each cell the index of its run's first cell.
        reach: How many cells apart two readings of a field are at most for the cells between to be filled.
    """

    groups: Array
    firsts: Array
    lasts: Array
    places: Array
    sources: Array
    ages: Array
    widths: Array
    begins: Array
    reach: int

    @classmethod
    def of(cls, rows: int, firsts: Array, widths: Array, runs: Array, reach: int) -> Self:
        """Lay occupied cells, with the first reading of each, out among all; ``runs`` tells which begin a run."""
        counts = np.diff(firsts, append=rows)
        stops = np.cumsum(widths)
        places = stops - widths
        sources = np.repeat(np.arange(len(firsts)), widths)
        ages = np.arange(len(sources)) - places[sources]
        first_of_run = np.maximum.accumulate(np.where(runs, places, 0)) if len(places) else places
        groups = np.repeat(np.arange(len(firsts)), counts)
        return cls(groups, firsts, firsts + counts - 1, places, sources, ages, widths, first_of_run[sources], reach)


@dataclass(frozen=True)
class Filled:
    """The values of an array on the grid.

    Attributes:
        values: One for each cell, dtype and shape as given.
        measured: Whether it was; of the shape of the values if they are floats, else one for each cell.
        ages: How many cells ago the value was measured, int32; -1: not within reach, the value is NaN.
    """

    values: Array
    measured: Array
    ages: Array


def filled(values: Array, cover: Cover, fill: str, *, numeric: bool, held: Sequence[int] = ()) -> Filled:
    """Bring readings to the grid.

    Args:
        values: Of shape (readings, *shape).
        cover: How they cover the cells.
        fill: ``mean``, ``last`` or ``linear``.
        numeric: Whether floats may be averaged; else, and with other values, a cell holds its last reading.
        held: Columns of ``values``, of shape (readings, columns), that are filled as by ``last``: codes and booleans.
    """
    shape = values.shape[1:]
    if not numeric or values.dtype.kind != "f":
        ones = (len(cover.ages), *(1 for _ in shape))
        last = np.take(values, cover.lasts[cover.sources], axis=0)
        return Filled(last, (cover.ages == 0).reshape(ones), cover.ages.astype(np.int32).reshape(ones))
    table = _table(values.reshape(len(values), math.prod(shape)), cover, fill)
    if held and fill != "last":
        columns = list(held)
        codes = _table(np.ascontiguousarray(values[:, columns]), cover, "last")
        for name in ("values", "measured", "ages"):
            getattr(table, name)[:, columns] = getattr(codes, name)
    cells = len(cover.ages)
    return Filled(*(each.reshape(cells, *shape) for each in (table.values, table.measured, table.ages)))


def _table(values: Array, cover: Cover, fill: str) -> Filled:
    held = np.take(values, cover.lasts, axis=0) if fill == "last" else _means(values, cover)
    made = np.take(held, cover.sources, axis=0)  # several times faster than indexing
    between = np.flatnonzero(cover.ages)
    if fill == "linear" and len(between):
        source = cover.sources[between]
        low, high = np.take(held, source, axis=0), np.take(held, source + 1, axis=0)
        made[between] = _on_line(low, high, cover.ages[between], cover.widths[source])
    ages = np.empty(made.shape, np.int32)
    ages[:] = cover.ages[:, None]
    measured = np.empty(made.shape, np.bool_)
    measured[:] = (cover.ages == 0)[:, None]
    result = Filled(made, measured, ages)
    gaps = np.isnan(values)
    if gaps.any():
        for field in np.flatnonzero(gaps.any(axis=0)).tolist():
            _fill_field(result, field, _cells_of_field(values[:, field], gaps[:, field], cover, fill), cover, fill)
    return result


def _means(values: Array, cover: Cover) -> Array:
    if len(cover.firsts) == len(values):
        alone: Array = values + values.dtype.type(0)  # as a sum would be: no negative zeros
        return alone
    counts = (cover.lasts - cover.firsts + 1).astype(np.float64)
    made = np.empty((len(counts), values.shape[1]), values.dtype)
    for field in range(values.shape[1]):
        # sums in the order of time and in float64, so that they do not depend on what else is in the chunk
        made[:, field] = np.bincount(cover.groups, values[:, field].astype(np.float64), len(counts)) / counts
    return made


def _cells_of_field(values: Array, gaps: Array, cover: Cover, fill: str) -> Array:
    """The values of the occupied cells by those readings that have one; NaN where none has."""
    groups = cover.groups[~gaps]
    made = np.full(len(cover.firsts), np.nan, values.dtype)
    if fill == "last":
        made[groups] = values[~gaps]  # of several the last one is written last
        return made
    counts = np.bincount(groups, minlength=len(made))
    sums = np.bincount(groups, values[~gaps].astype(np.float64), len(made))
    some = counts > 0
    made[some] = sums[some] / counts[some]
    return made


def _fill_field(result: Filled, field: int, held: Array, cover: Cover, fill: str) -> None:
    """Fill the cells of one field that some readings lack, in place, from those that have it, in the same run."""
    cells = np.arange(len(cover.ages))
    values = np.full(len(cells), np.nan, held.dtype)
    values[cover.places] = held
    measured = ~np.isnan(values)
    before = np.maximum.accumulate(np.where(measured, cells, -1))
    after = np.minimum.accumulate(np.where(measured, cells, len(cells))[::-1])[::-1]
    inside = (before >= cover.begins) & (after < len(cells)) & (after - before <= cover.reach)
    inside &= cover.begins[np.minimum(after, len(cells) - 1)] == cover.begins
    gaps = np.flatnonzero(inside & ~measured)
    low, high = before[gaps], after[gaps]
    values[gaps] = (
        _on_line(values[low, None], values[high, None], gaps - low, high - low)[:, 0]
        if fill == "linear"
        else values[low]
    )
    result.values[:, field] = values
    result.measured[:, field] = measured
    result.ages[:, field] = np.where(inside, cells - before, -1)


def _on_line(low: Array, high: Array, ages: Array, widths: Array) -> Array:
    share = (ages / widths)[:, None]
    with np.errstate(invalid="ignore"):  # infinite readings
        made: Array = (low + (high.astype(np.float64) - low) * share).astype(low.dtype)
    return made
