"""Time of rows as plain numbers: milliseconds of dates, or the numbers themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import Binary, DatetimeMS, Decimal128
from bson.binary import UUID_SUBTYPE

from nemesyst.errors import FieldError
from nemesyst.feed.windows.durations import duration

if TYPE_CHECKING:
    from nemesyst.feed.windows.spec import Window

Array = np.ndarray[Any, Any]
_NEAR = 1e-9
"""Floats that are this near to a cell's beginning, in cells, are meant to be there (0.3 is in cell 3 of 0.1)."""


def ticks(window: Window, on: Array) -> Array:
    """Time of each row as int64 or float64; shape (rows,).

    Raises:
        FieldError: It is neither dates nor numbers, holds NaN, or does not fit ``every`` and ``max_gap``.
    """
    kind = on.dtype.kind
    if kind not in "iufM" or on.ndim != 1:
        what = {"U": "texts", "b": "booleans"}.get(kind, "lists" if on.ndim > 1 else "values of several kinds")
        raise FieldError(
            f"window: field {window.on} holds {what}, not times",
            "Name a field of dates or numbers as on=, or convert it in the pipeline ($toDate).",
        )
    check_unit(window, dates=kind == "M")
    if kind == "M":
        return on.astype("datetime64[ms]", copy=False).view(np.int64)
    if kind == "f" and not np.isfinite(on).all():
        count = np.count_nonzero(~np.isfinite(on))
        raise FieldError(f"window: field {window.on} is NaN or infinite in {count} rows", "Leave them out with $match.")
    return on.astype(np.float64 if kind == "f" else np.int64, copy=False)


def tick(value: Any) -> int | float:
    """One moment, as stored or decoded, in the numbers of :func:`ticks`."""
    if isinstance(value, DatetimeMS):
        return int(value)
    if isinstance(value, Decimal128):
        return float(value.to_decimal())
    if isinstance(value, datetime):
        value = np.datetime64(value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None), "ms")
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ms]").astype(np.int64))
    number: int | float = value.item() if isinstance(value, np.generic) else value
    return number


def same(value: Any, stored: Any) -> bool:
    """Whether an element of a decoded array is a value as stored or decoded."""
    if isinstance(value, np.datetime64):
        return bool(tick(value) == tick(stored))
    if isinstance(stored, Decimal128):
        stored = tick(stored)
    elif isinstance(stored, Binary) and stored.subtype == UUID_SUBTYPE:
        stored = stored.as_uuid()
    return bool((value.item() if isinstance(value, np.generic) else value) == stored)


def dated(numbers: Array, like: Array) -> Array:
    """Numbers of :func:`ticks` as times again, dates where ``like`` holds dates."""
    return numbers.view("datetime64[ms]") if like.dtype.kind == "M" else numbers


def length_of(value: Any) -> Any:
    """``every`` or ``max_gap`` in the numbers of :func:`ticks`."""
    return duration(value) if isinstance(value, str) else value


def spell_of(value: Any, number: Any) -> Any:
    """A number of :func:`ticks` as what one adds to a stored moment; ``value`` (``every``) tells which it is."""
    return timedelta(milliseconds=number) if isinstance(value, str) else number


def cells_of(every: Any, times: Array) -> Array:
    """The cell that each time lies in, counted from time 0; int64."""
    if times.dtype.kind == "i" and isinstance(every, int):
        whole: Array = times // every
        return whole
    places = times / every
    nearest = np.rint(places)
    exact = np.abs(places - nearest) < _NEAR * np.maximum(1.0, np.abs(places))
    cells: Array = np.where(exact, nearest, np.floor(places)).astype(np.int64)
    return cells


def moved(window: Window, time: Any, length: Any) -> Any:
    """A moment as stored, and a length of time later (``spell_of``), as the database takes it.

    Raises:
        FieldError: It is neither a date nor a number, or in another unit than the window's.
    """
    if isinstance(time, Decimal128):
        time = float(time.to_decimal())
    if isinstance(time, bool) or not isinstance(time, DatetimeMS | int | float):
        raise FieldError(
            f"window: field {window.on} of some document is {time!r}, not a time",
            "Name a field of dates or numbers as on=, or convert it in the pipeline ($toDate).",
        )
    check_unit(window, dates=isinstance(time, DatetimeMS))
    if isinstance(length, timedelta):
        return DatetimeMS(int(time) + round(length / timedelta(milliseconds=1)))
    return time + length


def check_unit(window: Window, *, dates: bool) -> None:
    """Refuse lengths of a window that are not in the unit of its time.

    Raises:
        FieldError: One is a text where time is a number, or a number where it is a date.
    """
    for name in ("every", "max_gap"):
        value = getattr(window, name)
        if value is not None and isinstance(value, str) != dates:
            holds, write = (
                ("dates", f'{name}="10s"') if dates else ("numbers", f"{name}=10, in the unit of {window.on}")
            )
            raise FieldError(f"window: {name}={value!r}, but field {window.on} holds {holds}", f"Write {write}.")
