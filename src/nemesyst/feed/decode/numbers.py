"""Numbers, booleans, dates and decimals out of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from bson.decimal128 import Decimal128

from nemesyst.feed.decode.cells import EvenCells, LooseCells, joined, kinds_of, read
from nemesyst.feed.decode.kinds import BOOL, DECIMAL, DTYPES, GAPS, INT32, INT64, NUMBERS, Array

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Cells

_EXACT = 2**53
_POWERS = 10.0 ** np.arange(23)
_BIAS = 6176


def numbers(cells: Cells) -> Array:
    """The values of cells that hold numbers and booleans alone: bool or int64 if all are, else float64.

    Cells that are absent or null, among others that are not, become False, 0 or NaN.
    """
    kinds = kinds_of(cells) - GAPS
    if kinds == {BOOL}:
        found = np.asarray(read(cells, "u1") != 0)
        return found if isinstance(cells, EvenCells) else _without(cells, found, fill=False)
    if not kinds <= {INT32, INT64}:
        return numbers_into(cells, np.empty(cells.rows, np.float64))
    if isinstance(cells, EvenCells):
        return cells.read(DTYPES[cells.kind], np.empty(cells.rows, np.int64))
    words = cells.words
    return _without(cells, _with_narrow(cells, words, words.view(np.int64)), 0)


def numbers_into(cells: Cells, out: Array) -> Array:
    """Write cells that hold numbers and booleans alone into floats of any width, shape (rows,); gaps become NaN.

    Integers go over float64, so that a value becomes the same float whatever stands in the other rows.

    Raises:
        FloatingPointError: A number is too large for ``out``.
    """
    kind = cells.one_kind()
    with np.errstate(over="raise", invalid="ignore"):
        if kind is None:
            loose = cast("LooseCells", cells)
            words = loose.words
            out[:] = _without(loose, _with_narrow(loose, words, words.view(np.float64)), np.nan)
            return out
        if kind == INT64 and out.dtype != np.float64:
            out[:] = cells.read(DTYPES[kind], np.empty(cells.rows, np.float64))
            return out
        return cells.read(DTYPES[kind], out)


def _with_narrow(cells: LooseCells, words: Array, values: Array) -> Array:
    """``values``, the words as numbers of eight bytes, with what the others of another type are."""
    for kind in kinds_of(cells) & NUMBERS:
        if values.dtype != DTYPES[kind]:
            np.copyto(values, _narrow(words, kind), where=cells.kinds == kind)
    return values


def _narrow(words: Array, kind: int) -> Array:
    """The words as numbers of a type, a copy."""
    if kind == INT64:
        return words.astype(np.int64)
    small = words.astype(np.uint32)
    return np.asarray(small.view(np.int32) if kind == INT32 else (small & 0xFF).astype(np.float64))


def _without(cells: LooseCells, values: Array, fill: float) -> Array:
    missing = cells.missing()
    if missing is not None:
        np.copyto(values, fill, where=missing)
    return values


def dates(cells: Cells) -> Array:
    """Dates as datetime64[ms] (UTC)."""
    return np.asarray(read(cells, "<i8").view("datetime64[ms]"))


def decimals(cells: Cells) -> Array:
    """Decimal128, and numbers among them, as the nearest float64."""
    if cells.one_kind() == DECIMAL:
        return _decimals(joined(cells, 16).view("<u8"))
    loose = cast("LooseCells", cells)
    odd = loose.kinds == DECIMAL
    out = np.empty(loose.rows, np.float64)
    out[odd] = _decimals(joined(LooseCells(loose.frame, loose.kinds[odd], loose.at[odd]), 16).view("<u8"))
    out[~odd] = numbers(LooseCells(loose.frame, loose.kinds[~odd], loose.at[~odd]))
    return out


def _decimals(halves: Array) -> Array:
    """Low and high halves, shape (rows, 2), of the binary integer form; exact by one rounding where that can be."""
    low, high = halves[:, 0], halves[:, 1]
    exponent: Array = ((high >> np.uint64(49)) & np.uint64(0x3FFF)).astype(np.int64) - _BIAS
    plain = ((high & np.uint64(0x0001FFFFFFFFFFFF)) == 0) & (low <= _EXACT) & (np.abs(exponent) < len(_POWERS))
    plain &= (high >> np.uint64(61)) & np.uint64(3) != 3  # else infinite, no number, or a coefficient out of range
    power = _POWERS[np.where(plain, np.abs(exponent), 0)]
    size = np.where(exponent < 0, low / power, low * power)
    out: Array = np.where(high >> np.uint64(63) == 1, -size, size)
    for i in np.flatnonzero(~plain).tolist():
        out[i] = _float(halves[i].tobytes())
    return out


def _float(bid: bytes) -> float:
    value = Decimal128.from_bid(bid).to_decimal()
    return float("nan") if value.is_nan() else float(value)
