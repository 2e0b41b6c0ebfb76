"""Exact sums of floats, some nanoseconds per value.

Each block of values is cut into slices: multiples of a power of two that is so large that their sum cannot round
(the error-free extraction of Rump, Ogita and Oishi, "Accurate floating-point summation", 2008; a constant is added
and taken away again). The slices' sums are whole numbers of that unit and go into Python's integers. A total is
exact, so it does not depend on the order of values, on blocks, or on the processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

UNIT = 1200
"""Totals count in 2**-UNIT, which is below the smallest float64."""

_SPLITTER = 2.0**27 + 1
_SMALLEST = -1070
"""Exponent near the end of float64, where nothing rounds any more."""


class Sums:
    """A running exact sum for each of some columns.

    Attributes:
        totals: One integer for each column, in units of 2**-:data:`UNIT`.
    """

    def __init__(self, columns: int) -> None:
        self.totals = [0] * columns

    def merge(self, other: Sums) -> None:
        """Add another's totals."""
        self.totals = [mine + its for mine, its in zip(self.totals, other.totals, strict=True)]

    def add(self, values: Array, largest: Array, scratch: Array) -> None:
        """Add values.

        Args:
            values: Finite, float64, shape (columns, n); destroyed.
            largest: At least the largest magnitude of each column, at most 2**900; shape (columns,).
            scratch: At least as large as ``values``; destroyed.
        """
        room = values.shape[1].bit_length() + 1
        exponents = np.maximum(np.frexp(largest)[1] + room, _SMALLEST)
        while True:
            slices = scratch[:, : values.shape[1]]
            anchor = np.ldexp(1.5, exponents)[:, None]
            np.add(values, anchor, out=slices)
            slices -= anchor
            self._take(slices.sum(axis=1), exponents - 52)
            values -= slices
            rest = np.asarray(values.any(axis=0))
            left = np.count_nonzero(rest)
            if not left:
                return
            if left < len(rest) // 4:  # few small values among large ones: only they go on
                values = values[:, rest]
            exponents = np.maximum(exponents - 52 + room, _SMALLEST)

    def _take(self, sums: Array, exponents: Array) -> None:
        wholes = np.ldexp(sums, -exponents)
        for i, (whole, exponent) in enumerate(zip(wholes.tolist(), exponents.tolist(), strict=True)):
            self.totals[i] += int(whole) << (exponent + UNIT)


def square_terms(values: Array) -> list[Array]:
    """Arrays whose sum is exactly the squares of values of up to 53 bits (Dekker, 1971); of the same shape."""
    high = values * _SPLITTER
    high -= high - values
    low = values - high
    return [high * high, 2 * high * low, low * low]
