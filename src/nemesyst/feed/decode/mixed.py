"""Lists whose numbers differ in type from row to row, as JavaScript writes them: 0 as int32, 0.5 as a double."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.decode.cells import LooseCells
from nemesyst.feed.decode.kinds import NUMBERS, SIZE, Array
from nemesyst.feed.decode.numbers import numbers_into
from nemesyst.feed.decode.scan import elements
from nemesyst.feed.decode.wanted import step_of

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.frame import Frame

_LANES = 1200
_NUMBER_SIZE = np.where(np.isin(np.arange(256), sorted(NUMBERS)), SIZE, 1 << 62)
"""Bytes of a number by its type; of anything else more than there are."""


def mixed_lists(cells: Cells, lengths: Array, dtype: Any) -> Array | None:
    """Lists of equally many numbers as floats of shape (rows, numbers); None if they are not such lists.

    All rows advance by one number in each step. Few rows are cut into lanes, so that there are fewer steps with more to
    do: a lane begins where its first key is found, and that was right if the lane before it ends there.

    Args:
        cells: Lists alone, at least one.
        lengths: Of each in bytes.
        dtype: Of the result.

    Raises:
        RecordError: The first list is damaged.
    """
    begin, end = cells.at + 4, cells.at + lengths - 1
    count = sum(1 for _ in elements(cells.frame.plain, int(begin[0]), int(end[0])))
    lanes = max(1, min(_LANES // cells.rows, isqrt(count)))
    keys = -(-count // lanes)
    starts = _lanes(cells.frame, begin, end, range(keys, count, keys)) if count else None
    if starts is None:
        return None
    found = _lockstep(cells.frame.words, starts, end, count, keys)
    if found is None:
        return None
    flat = LooseCells(cells.frame, *(each.reshape(cells.rows, -1)[:, :count].ravel() for each in found))
    return numbers_into(flat, np.empty(flat.rows, dtype)).reshape(cells.rows, count)


def _lanes(frame: Frame, begin: Array, end: Array, keys: range) -> Array | None:
    """Where each lane may begin, shape (rows, lanes); None if a key is nowhere."""
    find, patterns = frame.plain.find, [b"%d\0" % key for key in keys]
    starts = np.empty((len(begin), 1 + len(patterns)), np.int64)
    for row, (first, last) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        places = [first]
        for pattern in patterns:
            places.append(find(pattern, places[-1] + 1, last) - 1)
            if places[-1] < first:
                return None
        starts[row] = places
    return starts


def _lockstep(words: Array, starts: Array, end: Array, count: int, keys: int) -> tuple[Array, Array] | None:
    """Types and offsets of all numbers, shape (rows, lanes, keys); None where the bytes are something else."""
    kinds = np.zeros((*starts.shape, keys), np.uint8)
    at = np.zeros((*starts.shape, keys), np.int64)
    position, limit = starts.copy(), end[:, None]
    for i in range(keys):
        masks, heads, sizes = _steps(i, count, keys)
        here = position[:, : len(sizes)]  # the last lane may be shorter
        word = words[here]
        if bool(((word & masks) != heads).any()):
            return None
        kind, start = word.astype(np.uint8), here + sizes
        kinds[:, : len(sizes), i], at[:, : len(sizes), i] = kind, start
        here[:] = start + _NUMBER_SIZE[kind]
        if bool((here > limit).any()):
            return None
    ends = np.concatenate([starts[:, 1:], limit], axis=1)
    return (kinds, at) if bool((position == ends).all()) else None


@lru_cache(maxsize=4096)
def _steps(first: int, count: int, keys: int) -> tuple[Array, Array, Array]:
    """Masks, heads and sizes of the keys ``first``, ``first + keys``, ... below ``count``."""
    steps = [step_of(b"%d" % key, None) for key in range(first, count, keys)]
    masks, heads = (
        np.array([step.mask for step in steps], np.uint64),
        np.array([step.head for step in steps], np.uint64),
    )
    return masks, heads, np.array([step.size for step in steps])
