"""Devices and times of both sides, brought to numbers that can be compared at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from nemesyst.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable

Array = np.ndarray[Any, Any]

_KINDS = {"b": "booleans", "i": "numbers", "u": "numbers", "f": "numbers", "U": "texts", "M": "dates", "O": "objects"}
_TYPES = {"booleans": "bool", "numbers": "number", "texts": "string", "dates": "date"}


def kind_of(values: Array) -> str:
    """What kind of values an array holds: ``"numbers"``, ``"texts"``, ``"dates"`` ..."""
    return _KINDS.get(values.dtype.kind, str(values.dtype)) if values.ndim == 1 else "arrays"


def type_of(values: Array) -> str | None:
    """The server's name of the type (``$type``); None if there is no one name."""
    if kind_of(values) == "objects":
        return "objectId" if len(values) and isinstance(values[0], ObjectId) else None
    return _TYPES.get(kind_of(values))


def plain(values: Array) -> list[Any]:
    """Values as the server takes them; dates of any year."""
    if values.dtype.kind == "M":
        return [DatetimeMS(each) for each in values.astype("datetime64[ms]").astype(np.int64).tolist()]
    found: list[Any] = values.tolist()
    return found


class Keys:
    """Distinct values, each with a number.

    Args:
        what: The field, for messages.
        values: Of one kind; may hold the same value many times.

    Raises:
        FieldError: The values are arrays or documents.
    """

    def __init__(self, what: str, values: Array) -> None:
        self._what = what
        self._kind = kind_of(values)
        self._places: dict[Any, int] = {}
        if self._kind == "objects":
            self._places = {value: place for place, value in enumerate(dict.fromkeys(self._hashable(values)))}
            self.values = np.empty(len(self._places), object)
            self.values[:] = list(self._places)
        elif self._kind in _TYPES:
            self.values = np.unique(values)
        else:
            raise FieldError(
                f"{what} holds {self._kind}, which cannot be compared",
                "Join by a field of numbers, texts, dates or ObjectIds.",
            )

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, values: Array) -> Array:
        """The number of each value, -1 for those that are not among the distinct ones; int64.

        Values of another kind are never equal, as the server has it.
        """
        none = np.full(len(values), -1, np.int64)
        if kind_of(values) != self._kind or not len(self):
            return none
        if self._kind == "objects":
            get = self._places.get
            return np.fromiter((get(each, -1) for each in self._hashable(values)), np.int64, len(values))
        found = np.searchsorted(self.values, values)
        found[found == len(self)] = 0
        return np.where(self.values[found] == values, found, -1)

    def _hashable(self, values: Array) -> Iterable[Any]:
        found: list[Any] = values.tolist()
        try:
            hash(found[0] if found else None)
        except TypeError:
            raise FieldError(
                f"{self._what} holds values of type {type(found[0]).__name__}, which cannot be compared",
                "Join by a field of numbers, texts, dates or ObjectIds.",
            ) from None
        return found


def gaps(values: Array) -> Array:
    """True where a value is no value: NaN, NaT or None; shape (rows,)."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind == "O":
        return np.fromiter((value is None for value in values.tolist()), np.bool_, len(values))
    return np.zeros(len(values), np.bool_)


class Grid:
    """Orders pairs of device and time: each becomes one number.

    Args:
        codes: Number of each row's device, 0 or more; int64, shape (rows,).
        times: Time of each row; numbers or dates, shape (rows,).
    """

    def __init__(self, codes: Array, times: Array) -> None:
        self.times, ranks = np.unique(times, return_inverse=True)
        self._width = len(self.times) + 1
        self.cells: Array = codes * self._width + ranks
        """The pair of each row; int64, shape (rows,)."""

    def first_cell(self, codes: Array, times: Array) -> Array:
        """The first pair that is not before a device and time; it may be none that there is."""
        return codes * self._width + np.searchsorted(self.times, times, side="left")

    def cell_behind(self, codes: Array, times: Array) -> Array:
        """The first pair that is after a device and time."""
        return codes * self._width + np.searchsorted(self.times, times, side="right")

    def device(self, cells: Array) -> Array:
        """The device of a pair."""
        found: Array = cells // self._width
        return found
