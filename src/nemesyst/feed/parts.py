"""Which part of a split a row belongs to: by what a field says, else by the hash of a key.

The hash depends on the value alone, not on its BSON type (30 and 30.0 are one), on the machine or on the order of
rows, so a row never changes sides as data grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import xxhash
from bson import Binary, DatetimeMS, Decimal128, ObjectId, encode

from nemesyst.errors import FieldError
from nemesyst.feed.split import PARTS

if TYPE_CHECKING:
    from nemesyst.feed.split import Split

Array = np.ndarray[Any, Any]
TRAIN, VALIDATION, TEST = range(3)


def parts(split: Split, keys: Array | None, named: Array | None, times: Array | None, rows: int) -> Array:
    """The part of each row as an index into :data:`PARTS`, -1 for none; shape (rows,), int8.

    Args:
        split: How rows are divided.
        keys: Values of ``split.by``; needed where shares divide rows.
        named: Values of ``split.field``, or None without one.
        times: Values of ``split.on``, or None without one.
        rows: Number of rows.

    Raises:
        FieldError: A value of ``split.field`` names no part; ``split.on`` holds other values than its borders.
    """
    chosen = np.zeros(rows, np.int8)
    if keys is not None and split.shares:
        shares = shares_of(keys)
        chosen[shares < split.test + split.validation] = VALIDATION
        chosen[shares < split.test] = TEST
    if times is not None:
        chosen = _in_time(split, chosen, _periods(split, times))
    if named is not None:
        given = _indices(split, named)
        chosen = np.where(given == TRAIN, chosen, given)
    return chosen


def _periods(split: Split, times: Array) -> Array:
    """In which part's time each row lies; the time before all is the train part's."""
    found = np.zeros(len(times), np.int8)
    for part, begin in ((VALIDATION, split.validation_from), (TEST, split.test_from)):
        if begin is not None:
            found[times >= _like(split, times, begin)] = part
    return found


def _like(split: Split, times: Array, begin: datetime | float) -> Any:
    if isinstance(begin, datetime) and times.dtype.kind == "M":
        return np.datetime64(begin.replace(tzinfo=None), "ms")
    if not isinstance(begin, datetime) and times.dtype.kind in "iuf":
        return begin
    raise FieldError(
        f"split: field {split.on} holds {times.dtype}, and a part begins at {begin!r}",
        "Give a date where the field holds dates, and a number where it holds numbers.",
    )


def _in_time(split: Split, devices: Array, periods: Array) -> Array:
    """The part by share and time together.

    A part with a share and a time has only rows of its share in its time; one with a share alone those before any
    other's time; one with a time alone all rows of the train devices in its time.
    """
    if not split.shares:
        return periods
    own = np.array(
        [
            TRAIN,
            VALIDATION if split.validation_from is not None else TRAIN,
            TEST if split.test_from is not None else TRAIN,
        ],
        np.int8,
    )
    chosen = np.where(periods == own[devices], devices, np.int8(-1)).astype(np.int8)
    for part, share in ((VALIDATION, split.validation), (TEST, split.test)):
        if not share:
            chosen[(devices == TRAIN) & (periods == part)] = part
    return chosen


def _indices(split: Split, named: Array) -> Array:
    values, inverse = np.unique(named.astype(str), return_inverse=True)
    strange = [value for value in values if value not in PARTS]
    if strange:
        raise FieldError(
            f"split: field {split.field} of some document is {str(strange[0])!r}",
            f"It must be one of {', '.join(PARTS)}.",
        )
    return np.array([PARTS.index(value) for value in values], np.int8)[inverse]


def shares_of(keys: Array) -> Array:
    """A number from 0 up to 1 for each key, the same for equal keys and evenly spread; shape (rows,), float64.

    Whole numbers, dates and booleans go through SplitMix64's finaliser (Steele, Lea and Flood, 2014), all at once;
    other values through xxh3 of their bytes, each different one once.
    """
    kind = keys.dtype.kind
    if kind in "biuM":
        return _unit(_mix(keys.astype(np.int64).view(np.uint64)))
    if kind == "f":
        return _unit(_mix(_float_words(keys)))
    values, inverse = _different(keys)
    return _unit(np.array([_hash(value) for value in values], np.uint64))[inverse]


def _float_words(keys: Array) -> Array:
    """A word for each float: that of the equal whole number, if there is one, else its own bits."""
    keys = keys.astype(np.float64)
    whole = (np.abs(keys) < 2.0**63) & (keys == np.floor(keys))
    words = np.where(whole, np.where(whole, keys, 0).astype(np.int64), keys.view(np.int64))
    return words.view(np.uint64)


def _mix(values: Array) -> Array:
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _unit(values: Array) -> Array:
    # 53 bits, so that the largest one does not round up to 1
    return (values >> np.uint64(11)).astype(np.float64) / 2.0**53


def _different(keys: Array) -> tuple[Any, Array]:
    if keys.dtype.kind == "U":
        return np.unique(keys, return_inverse=True)
    return keys, np.arange(len(keys))


def _hash(value: Any) -> int:
    # numbers and dates among values of other kinds: the same as among their own
    if isinstance(value, float):
        return int(_mix(_float_words(np.array([value])))[0])
    if isinstance(value, int | datetime):
        word = value if isinstance(value, int) else np.datetime64(value.replace(tzinfo=None), "ms").astype(np.int64)
        return int(_mix(np.array([word], np.int64).view(np.uint64))[0])
    if isinstance(value, Decimal128 | DatetimeMS):
        return _hash(float(value.to_decimal()) if isinstance(value, Decimal128) else int(value))
    if isinstance(value, str):
        return xxhash.xxh3_64_intdigest(value.encode())
    if isinstance(value, ObjectId):
        return xxhash.xxh3_64_intdigest(value.binary)
    stored = Binary.from_uuid(value) if isinstance(value, UUID) else value
    return xxhash.xxh3_64_intdigest(encode({"": _canonical(stored)}))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, UUID):
        return Binary.from_uuid(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
