"""Mean, deviation and range in one pass."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.scaling.collect import Collector
from nemesyst.feed.scaling.statistics import Statistics, usable
from nemesyst.feed.scaling.sums import UNIT, Sums, square_terms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from nemesyst.feed.scaling.statistics import Method

Array = np.ndarray[Any, Any]

_BLOCK = 32_768
"""Values of a block, which with its squares and slices stays in the processor's cache."""


class Moments(Collector):
    """Statistics for ``"standard"`` and ``"minmax"``; mean and deviation are of exact sums, each rounded once."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(fields)
        width = len(self.fields)
        self._present = np.zeros(width, np.int64)
        self._sums, self._squares = Sums(width), Sums(width)
        self._low, self._high = np.full(width, np.inf), np.full(width, -np.inf)

    def _add(self, columns: Array) -> None:
        width, rows = columns.shape
        block = min(rows, max(1024, _BLOCK // width))
        scratch = np.empty((3, width, block))
        short = columns.dtype.itemsize < 4 or columns.dtype == np.float32  # the square fits a float64
        for start in range(0, rows, block):
            here = columns[:, start : start + block]
            values, squares, slices = scratch[:, :, : here.shape[1]]
            values[...] = here
            largest = self._range(values)
            for term in [np.multiply(values, values, out=squares)] if short else square_terms(values):
                self._squares.add(term, 2 * largest * largest, slices)
            self._sums.add(values, largest, slices)

    def _range(self, values: Array) -> Array:
        """Take the range of a block, put 0 where it has NaN, and give the largest magnitude of each field."""
        low, high = values.min(axis=1), values.max(axis=1)
        self._present += values.shape[1]
        if np.isnan(low).any():
            gaps = np.isnan(values)
            self._present -= np.count_nonzero(gaps, axis=1)
            low, high = np.where(gaps, np.inf, values).min(axis=1), np.where(gaps, -np.inf, values).max(axis=1)
            values[gaps] = 0
        self.check_range(low, high)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        return np.where(high < low, 0, np.maximum(np.abs(low), np.abs(high)))

    def _merge(self, other: Self) -> None:
        self._present += other._present
        self._sums.merge(other._sums)
        self._squares.merge(other._squares)
        self._low, self._high = np.minimum(self._low, other._low), np.maximum(self._high, other._high)

    def _statistics(self, method: Method) -> Statistics:
        one = self._standard if method == "standard" else self._minmax
        pairs = [one(i) if self._present[i] else (0.0, 1.0) for i in range(len(self.fields))]
        return Statistics(
            method,
            self.fields,
            tuple(centre for centre, _ in pairs),
            tuple(usable(spread) for _, spread in pairs),
            self.count,
        )

    def _standard(self, i: int) -> tuple[float, float]:
        count = int(self._present[i])
        mean = Fraction(self._sums.totals[i], count << UNIT)
        variance = Fraction(self._squares.totals[i], count << UNIT) - mean * mean
        return float(mean), math.sqrt(variance)

    def _minmax(self, i: int) -> tuple[float, float]:
        low, high = float(self._low[i]), float(self._high[i])
        return low + 0.0, high - low  # + 0.0: -0.0 and 0.0 are one, whichever came first
