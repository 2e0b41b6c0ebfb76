"""Median and quartiles in one pass and bounded memory, without a sample.

Each field keeps its different values and how often each occurs, as long as there are at most ``limit``; with more,
neighbouring floats share a bin. A bin is all floats with the same leading bits, and as many bits are dropped as make
the occupied bins fit, so the bins depend on the set of values alone: there is no seed, and no order.

Up to ``limit`` different values the quartiles are exact. Otherwise each is within half a bin of the exact one: with
values in m powers of two (4 to 16 are two: [4, 8) and [8, 16)), at most ``m / limit`` of the value itself; values that
lie close together far from 0 occupy few bins and are told apart more finely still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.scaling.collect import Collector
from nemesyst.feed.scaling.statistics import Statistics, usable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from nemesyst.feed.scaling.statistics import Method

Array = np.ndarray[Any, Any]

LIMIT = 2**17
"""Bins of a field at most; with more than 16 fields, fewer: 2**21 over all fields, which is 64 MB while collecting."""

_PORTION = 2**18
"""Values of a field that are taken at once."""
_LOWEST = np.int64(np.iinfo(np.int64).min)
_FLOAT32_BITS = 29
"""Low bits of a float64 that are 0 in every float32."""


class Quantiles(Collector):
    """Statistics for ``"robust"``.

    Args:
        fields: Names, in the order of the values' last axis.
        limit: Bins of a field; None: :data:`LIMIT`, or fewer when the fields are many.
    """

    def __init__(self, fields: Sequence[str], limit: int | None = None) -> None:
        super().__init__(fields)
        limit = limit or min(LIMIT, max(2048, 2**21 // max(1, len(self.fields))))
        self._sketches = [Sketch(limit) for _ in self.fields]

    def _add(self, columns: Array) -> None:
        for start in range(0, columns.shape[1], _PORTION):
            for i, column in enumerate(columns[:, start : start + _PORTION]):
                self._add_column(i, column)

    def _add_column(self, i: int, column: Array) -> None:
        if column.dtype.kind != "f" and column.dtype.itemsize < 4:  # pixels: few values, counted without sorting
            lowest = int(column.min())
            counts = np.bincount(column.astype(np.int64) - lowest)
            found = np.flatnonzero(counts)
            self._sketches[i].add_counted((found + lowest).astype(np.float64), counts[found])
            return
        values = column.astype(np.float64)
        values = values[~np.isnan(values)]
        if len(values):
            ends = np.zeros((2, len(self.fields)))
            ends[:, i] = values.min(), values.max()
            self.check_range(*ends)
            self._sketches[i].add(values)

    def _merge(self, other: Self) -> None:
        for mine, its in zip(self._sketches, other._sketches, strict=True):
            mine.merge(its)

    def _statistics(self, method: Method) -> Statistics:
        quartiles = [
            sketch.quantiles((0.25, 0.5, 0.75)) if sketch.count else (0.0, 0.0, 1.0) for sketch in self._sketches
        ]
        return Statistics(
            method,
            self.fields,
            tuple(median for _, median, _ in quartiles),
            tuple(usable(upper - lower) for lower, _, upper in quartiles),
            self.count,
        )


class Sketch:
    """How often values occur, told apart as finely as ``limit`` bins allow."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bins, self._counts = np.empty(0, np.int64), np.empty(0, np.int64)
        self._dropped = 0  # low bits that bins are without
        self._waiting: list[Array] = []

    @property
    def count(self) -> int:
        """Values that were taken."""
        self._settle()
        return int(self._counts.sum())

    def add(self, values: Array) -> None:
        """Take values: float64, shape (n,), none of them NaN."""
        self._waiting.append(_ordered(values) >> self._dropped)
        if sum(map(len, self._waiting)) >= 2 * self._limit:  # sorting many at once is cheaper
            self._settle()

    def add_counted(self, values: Array, counts: Array) -> None:
        """Take values, each as often as its count says; both of shape (n,), rising."""
        self._settle()
        bins = _ordered(values) >> self._dropped
        self._keep(np.concatenate([self._bins, bins]), np.concatenate([self._counts, counts]))

    def merge(self, other: Sketch) -> None:
        """Take all that another one with the same limit has taken."""
        self._settle()
        other._settle()
        dropped = max(self._dropped, other._dropped)
        mine, its = self._bins >> (dropped - self._dropped), other._bins >> (dropped - other._dropped)
        self._dropped = dropped
        self._keep(np.concatenate([mine, its]), np.concatenate([self._counts, other._counts]))

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """The values below which the shares lie, interpolated between neighbours as ``numpy.quantile`` does."""
        ends = np.cumsum(self._counts)
        return tuple(self._at(ends, share * (self.count - 1)) for share in shares)

    def _at(self, ends: Array, place: float) -> float:
        first = int(place)
        both = np.searchsorted(ends, [first, min(first + 1, int(ends[-1]) - 1)], side="right")
        low, high = (self._value(int(self._bins[i])) for i in both)
        return low + (high - low) * (place - first)

    def _settle(self) -> None:
        if self._waiting:
            bins = np.sort(np.concatenate(self._waiting))
            self._waiting = []
            first = _firsts(bins)
            counts = np.diff(first, append=len(bins))
            self._keep(np.concatenate([self._bins, bins[first]]), np.concatenate([self._counts, counts]))

    def _keep(self, bins: Array, counts: Array) -> None:
        order = np.argsort(bins, kind="stable")  # of two sorted runs: a merge
        self._bins, self._counts = _united(bins[order], counts[order])
        if len(self._bins) > self._limit:
            # bins stay apart when a bit above the dropped ones differs; the limit-th largest difference must go
            differing = (self._bins[1:] ^ self._bins[:-1]).view(np.uint64)
            more = int(np.partition(differing, -self._limit)[-self._limit]).bit_length()
            self._dropped += more
            self._bins, self._counts = _united(self._bins >> more, self._counts)

    def _value(self, bin_: int) -> float:
        """The bin's lowest value where it holds one float32 only, else its middle."""
        key = bin_ << self._dropped
        if self._dropped > _FLOAT32_BITS:
            key += 1 << (self._dropped - 1)
        return float(np.copysign(np.int64(abs(key)).view(np.float64), key))


def _ordered(values: Array) -> Array:
    """An integer for each float64, in the same order; negative ones mirror the positive ones."""
    bits = (values + 0.0).view(np.int64)  # + 0.0: there is one zero
    return np.where(bits < 0, _LOWEST - bits, bits)


def _firsts(bins: Array) -> Array:
    """Where each of the sorted bins stands first."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(bins)), np.bool_), bins[1:] != bins[:-1]]))


def _united(bins: Array, counts: Array) -> tuple[Array, Array]:
    """Sorted bins with equal ones made one."""
    first = _firsts(bins)
    return bins[first], np.add.reduceat(counts, first) if len(first) else counts
