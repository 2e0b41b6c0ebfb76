"""Numbers, booleans, dates and decimals out of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from bson.decimal128 import Decimal128

from nemesyst.feed.decode.cells import LooseCells, joined, read
from nemesyst.feed.decode.kinds import BOOL, DECIMAL, DOUBLE, DTYPES, INT32, INT64, Array

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Cells

_EXACT = 2**53
_POWERS = 10.0 ** np.arange(23)
_BIAS = 6176


def numbers(cells: Cells) -> Array:
    """The values of cells that hold numbers and booleans alone: bool or int64 if all are, else float64."""
    kind = cells.one_kind()
    if kind == BOOL:
        return np.asarray(read(cells, "u1") != 0)
    if kind in (INT32, INT64):
        return cells.read(DTYPES[kind], np.empty(cells.rows, np.int64))
    if kind is None and not set(np.flatnonzero(np.bincount(cells.kinds)).tolist()) - {INT32, INT64}:
        words = cast("LooseCells", cells).words
        small = words.astype(np.uint32).view(np.int32)
        return np.where(cells.kinds == INT32, small, words.view(np.int64))
    return numbers_into(cells, np.empty(cells.rows, np.float64))


def numbers_into(cells: Cells, out: Array) -> Array:
    """Write cells that hold numbers and booleans alone into floats of any width, shape (rows,).

    Integers go over float64, so that a value becomes the same float whatever stands in the other rows.
    """
    kind = cells.one_kind()
    if kind is None:
        return _mixed(cast("LooseCells", cells), out)
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == INT64 and out.dtype != np.float64:
            out[:] = cells.read(DTYPES[kind], np.empty(cells.rows, np.float64))
            return out
        return cells.read(DTYPES[kind], out)


def _mixed(cells: LooseCells, out: Array) -> Array:
    words = cells.words
    values = words.view(np.float64)
    for kind in np.flatnonzero(np.bincount(cells.kinds)).tolist():
        if kind != DOUBLE:
            here = np.flatnonzero(cells.kinds == kind)
            values[here] = _narrow(words[here], kind)
    with np.errstate(over="ignore", invalid="ignore"):
        out[:] = values
    return out


def _narrow(words: Array, kind: int) -> Array:
    if kind == INT64:
        return np.asarray(words.view(np.int64))
    small = words.astype(np.uint32)
    return np.asarray(small.view(np.int32) if kind == INT32 else small & 0xFF)


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
