"""``_id``s in sets: equal when the server holds them for equal, whatever they were decoded to."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import numpy as np
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

_NAN = ("nan",)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_of(value: Any) -> Hashable:
    """A hashable key that is equal for two ``_id``s exactly when they are the same one to the server.

    Numbers are equal by value, whatever their types, also inside of documents; the order of a document's fields counts.

    >>> key_of(1) == key_of(1.0), key_of({"a": 1}) == key_of({"a": 1.0}), key_of(True) == key_of(1)
    (True, True, False)
    """
    kind = type(value)
    if kind is ObjectId:
        return value.binary  # type: ignore[no-any-return] # plain bytes: nothing else gives them
    if kind is str or kind is int:
        return value  # type: ignore[no-any-return]
    return _other(value)


def _other(value: Any) -> Hashable:
    if isinstance(value, np.generic):
        return _numpy(value)
    if value is None or isinstance(value, bool):
        return ("constant", value)
    for kinds, make in _MAKERS:
        if isinstance(value, kinds):
            return make(value)
    return ("other", bson.encode({"": value}))


def _numpy(value: np.generic) -> Hashable:
    if isinstance(value, np.datetime64):
        return ("date", int(value.astype("datetime64[ms]").astype(np.int64)))
    return key_of(value.item())


def _float(value: float) -> Hashable:
    return _NAN if math.isnan(value) else float(value)  # Python's numbers are equal, and hash so, by exact value


def _decimal(value: Decimal) -> Hashable:
    return _NAN if value.is_nan() else value


def _date(value: datetime) -> Hashable:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    return ("date", (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000)


def _document(value: Mapping[str, Any]) -> Hashable:
    return ("document", tuple((name, key_of(item)) for name, item in value.items()))


_MAKERS: tuple[tuple[Any, Callable[[Any], Hashable]], ...] = (
    (Mapping, _document),
    (float, _float),
    (bson.Int64, int),
    (Decimal128, lambda value: _decimal(value.to_decimal())),
    (Decimal, _decimal),
    (datetime, _date),
    (DatetimeMS, lambda value: ("date", int(value))),
    (Binary, lambda value: ("binary", value.subtype, bytes(value))),
    (bytes, lambda value: ("binary", 0, value)),
    (UUID, lambda value: ("binary", 4, value.bytes)),
    (list | tuple, lambda value: ("array", tuple(map(key_of, value)))),
    (DBRef, lambda value: _document(value.as_doc())),
)


def rows_kept(ids: Iterable[Any], holds: Callable[[Hashable], bool]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of some ``_id``s a set does not hold, as booleans of shape (ids,)."""
    return np.fromiter((not holds(key_of(value)) for value in ids), np.bool_)


class Ids:
    """A set of ``_id``s of any type, as they come out of ``bson.decode``, of NumPy arrays, or raw.

    >>> 1.0 in Ids([1, {"unit": 3}])
    True
    """

    def __init__(self, ids: Iterable[Any] = ()) -> None:
        self._keys = {key_of(value) for value in ids}

    def add(self, value: Any) -> None:
        """Add one."""
        self._keys.add(key_of(value))

    def __contains__(self, value: Any) -> bool:
        return key_of(value) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def keep(self, ids: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows to keep: those whose ``_id`` is not in the set. Booleans of shape (rows,)."""
        return rows_kept(ids, self._keys.__contains__)
