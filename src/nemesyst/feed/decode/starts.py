"""Where the documents of a BSON array begin, when they differ in length.

Each length says where the next document begins, so they are read one after the other: in a loop, or, where there are
many, in lanes that advance together. A lane begins at a key that is found some way into the bytes (keys count the
documents), and that was right if the lane before it ends there.
"""

from __future__ import annotations

import re
import struct
from itertools import islice
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.kinds import damaged

if TYPE_CHECKING:
    from nemesyst.feed.decode.kinds import Array

_UNSIGNED = struct.Struct("<I")
_FIRST = 7
"""Offset of the first document: behind the array's length, its own type and its key."""
_LEAST = 8
"""Bytes of the shortest document with its type and key."""
_TRIED, _MANY = 64, 1500
"""Documents that tell how many there are; and from how many on lanes are faster than the loop."""
_KEY = re.compile(rb"\0\x03([1-9][0-9]{0,8})\0")
_LOOKS = 4
"""Keys that are tried as the beginning of a lane: lists of documents inside documents have such keys, too."""


def starts_of(batch: bytes | memoryview) -> Array:
    """The offset of each document of a BSON array of documents, int64 of shape (documents,).

    Raises:
        RecordError: It ends inside a document.
    """
    tried = _one_by_one(batch, 0, _FIRST, _TRIED)
    if len(tried) == _TRIED:
        rows = len(batch) * _TRIED // tried[-1]
        found = _by_lanes(batch, rows) if rows >= _MANY else None
        if found is not None:
            return found
    return np.array(_to_the_end(batch, 0, _FIRST), np.int64)


def _one_by_one(batch: bytes | memoryview, number: int, position: int, most: int) -> list[int]:
    """The offsets of document ``number``, which begins at ``position``, and those after it, at most so many.

    Lengths are read as numbers without a sign, so that it comes to an end.
    """
    unpack, last = _UNSIGNED.unpack_from, len(batch) - 1
    starts: list[int] = []
    keep = starts.append
    digits = len(str(number + 1))
    try:
        while most > 0 and position < last:
            header, same = digits + 2, 10**digits - 1 - number  # so many are followed by a key of so many digits
            for _ in range(min(same, most)):
                keep(position)
                position += unpack(batch, position)[0] + header
                if position >= last:
                    break
            digits, number, most = digits + 1, number + same, most - same
    except struct.error:
        raise _cut_off() from None
    return starts


def _to_the_end(batch: bytes | memoryview, number: int, position: int) -> list[int]:
    starts = _one_by_one(batch, number, position, len(batch))
    if not starts or starts[-1] + _UNSIGNED.unpack_from(batch, starts[-1])[0] != len(batch) - 1:
        raise _cut_off()
    return starts


def _by_lanes(batch: bytes | memoryview, rows: int) -> Array | None:
    """The same in lanes; None if a lane did not begin at a document. ``rows``: about how many there are."""
    numbers, places = _lanes(batch, 2 * isqrt(rows))
    if len(numbers) < 2:
        return None
    counts = np.diff(numbers)
    at = _lockstep(batch, numbers, places, int(counts.max()))
    if (at[counts, np.arange(len(counts))] != places[1:]).any():
        return None
    inside = np.arange(len(at))[:, None] < counts
    last = _to_the_end(batch, int(numbers[-1]), int(places[-1]))
    return np.concatenate([at.T[inside.T], np.array(last, np.int64)])


def _lanes(batch: bytes | memoryview, count: int) -> tuple[Array, Array]:
    """Number and offset of the document with which each lane begins, if it is one."""
    numbers, places, width = [0], [_FIRST], len(batch) // count
    for goal in range(width, len(batch) - width // 2, width):
        for match in islice(_KEY.finditer(batch, goal, goal + 2 * width), _LOOKS):
            number, place = int(match[1]), match.end()
            if 0 < number - numbers[-1] <= (place - places[-1]) // _LEAST:
                numbers.append(number)
                places.append(place)
                break
    return np.array(numbers), np.array(places)


def _lockstep(batch: bytes | memoryview, numbers: Array, places: Array, steps: int) -> Array:
    """Offsets of the documents of each lane but the last, int64 of shape (steps + 1, lanes); shorter lanes go on."""
    lengths = np.ndarray((len(batch) - 3,), "<u4", batch, strides=(1,))
    following = numbers[:-1] + np.arange(1, steps + 1)[:, None]
    powers = 10 ** np.arange(1, len(str(following.max())) + 1)
    keys = np.repeat(np.arange(3, 3 + len(powers)), np.diff(powers, prepend=0))  # bytes before each document, by number
    headers = keys[following]
    at = np.empty((steps + 1, len(numbers) - 1), np.int64)
    at[0] = places[:-1]
    for step in range(steps):
        np.add(at[step], lengths[at[step]], out=at[step + 1])
        at[step + 1] += headers[step]
        np.minimum(at[step + 1], len(lengths) - 1, out=at[step + 1])  # where the lane was none, or has ended
    return at


def _cut_off() -> Exception:
    return damaged("it ends inside a document")
