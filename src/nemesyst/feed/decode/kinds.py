"""The types of BSON values as numbers and tables; see https://bsonspec.org/spec.html."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from nemesyst.errors import RecordError

Array = np.ndarray[Any, Any]

ABSENT: Final = 0
DOUBLE: Final = 0x01
STRING: Final = 0x02
DOCUMENT: Final = 0x03
ARRAY: Final = 0x04
BINARY: Final = 0x05
UNDEFINED: Final = 0x06
BOOL: Final = 0x08
DATE: Final = 0x09
NULL: Final = 0x0A
REGEX: Final = 0x0B
SYMBOL: Final = 0x0E
INT32: Final = 0x10
INT64: Final = 0x12
DECIMAL: Final = 0x13

NUMBERS: Final = frozenset({DOUBLE, BOOL, INT32, INT64})
TEXTS: Final = frozenset({STRING, SYMBOL})
GAPS: Final = frozenset({ABSENT, NULL, UNDEFINED})
DTYPES: Final = {DOUBLE: "<f8", BOOL: "u1", INT32: "<i4", INT64: "<i8", DATE: "<i8"}

_FIXED = {0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x01: 8, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
# What begins with a length: bytes beside the counted ones, and the least length that can be.
_COUNTED = {0x02: (4, 1), 0x03: (0, 5), 0x04: (0, 5), 0x05: (5, 0), 0x0C: (16, 1), 0x0D: (4, 1), 0x0E: (4, 1)}
_COUNTED[0x0F] = (0, 14)

COUNTED: Final = -1
BY_EYE: Final = -2
UNKNOWN: Final = -3

SIZE: Final[Array] = np.full(256, UNKNOWN, np.int64)
"""Bytes of a value by its type; negative where that is not all there is to it."""
EXTRA: Final[Array] = np.zeros(256, np.int64)
LEAST: Final[Array] = np.zeros(256, np.int64)
for _kind, _size in _FIXED.items():
    SIZE[_kind] = _size
for _kind, (_extra, _least) in _COUNTED.items():
    SIZE[_kind], EXTRA[_kind], LEAST[_kind] = COUNTED, _extra, _least
SIZE[REGEX] = BY_EYE

SIZES: Final[list[int]] = SIZE.tolist()
EXTRAS: Final[list[int]] = EXTRA.tolist()
LEASTS: Final[list[int]] = LEAST.tolist()


def damaged(what: str) -> RecordError:
    """The error of bytes that are no BSON."""
    return RecordError(
        f"a reply of the database is damaged: {what}",
        "Read it again; if it stays, check the collection with validate(full=True).",
    )
