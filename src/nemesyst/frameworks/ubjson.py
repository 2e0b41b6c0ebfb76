"""Reads UBJSON as XGBoost writes it, and nothing else; numbers of an array are views of the bytes.

XGBoost's own reader is compiled code that trusts its input. What this reader lets through, that one reads the same
way: names stand once, lengths fit the bytes, nesting is shallow. Format: https://ubjson.org (Draft 12).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_KINDS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_NUMBERS = {ord(mark): np.dtype(kind) for mark, kind in _KINDS.items()}
_FIXED = {ord("T"): True, ord("F"): False, ord("Z"): None}
_OPEN, _CLOSE, _LIST, _TEXT, _LONG, _COUNT, _TYPE = (ord(mark) for mark in "{}[SL#$")
_LENGTH = struct.Struct(">q").unpack_from
_DEPTH = 24
"""Levels of nesting that are read; XGBoost uses 8."""


def read(data: memoryview) -> dict[str, Any]:
    """Read one object: dicts, lists, strings, numbers, and NumPy arrays (big-endian) for arrays of one type.

    Raises:
        ValueError: It is not UBJSON as XGBoost writes it.
    """
    reader = _Reader(data)
    try:
        found = reader.value(0)
    except (IndexError, struct.error):
        raise ValueError(f"it ends in the middle, at byte {len(data)}") from None
    if not isinstance(found, dict) or reader.at != len(data):
        raise ValueError(f"one object was expected, and {len(data) - reader.at} bytes follow")
    return found


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def value(self, depth: int) -> Any:
        """The next value."""
        mark = self._mark()
        if mark == _TEXT:
            return self._text()
        if (kind := _NUMBERS.get(mark)) is not None:
            return self._numbers(kind, 1)[0].item()
        if mark in _FIXED:
            return _FIXED[mark]
        if depth > _DEPTH:
            raise ValueError("it is nested too deeply")
        if mark == _OPEN:
            return self._object(depth)
        if mark == _LIST:
            return self._array(depth)
        raise ValueError(f"unknown type {mark:#x} at byte {self.at - 1}")

    def _mark(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._data[self.at] != _CLOSE:
            name = self._text()
            if name in found:
                raise ValueError(f"the name {name!r} stands twice")
            found[name] = self.value(depth + 1)
        self.at += 1
        return found

    def _array(self, depth: int) -> Any:
        kind = None
        if self._data[self.at] == _TYPE:
            kind = _NUMBERS[self._data[self.at + 1]]
            self.at += 2
        if self._mark() != _COUNT:
            raise ValueError(f"an array without a length at byte {self.at - 1}")
        count = self._length()
        if kind is not None:
            return self._numbers(kind, count)
        if count > len(self._data) - self.at:  # each item takes a byte at least
            raise ValueError(f"an array of {count} items is claimed at byte {self.at} of {len(self._data)}")
        return [self.value(depth + 1) for _ in range(count)]

    def _numbers(self, kind: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
        begin = self.at
        self.at += count * kind.itemsize
        if self.at > len(self._data):
            raise ValueError(f"{count} numbers are claimed at byte {begin} of {len(self._data)}")
        return np.frombuffer(self._data, kind, count, begin) if count else np.empty(0, kind)

    def _text(self) -> str:
        length = self._length()
        begin = self.at
        self.at += length
        if self.at > len(self._data):
            raise ValueError(f"{length} letters are claimed at byte {begin} of {len(self._data)}")
        return str(self._data[begin : self.at], "utf-8")

    def _length(self) -> int:
        if self._data[self.at] != _LONG:
            raise ValueError(f"a length was expected at byte {self.at}")
        length: int = _LENGTH(self._data, self.at + 1)[0]
        if length < 0:
            raise ValueError(f"a length of {length} at byte {self.at}")
        self.at += 9
        return length
