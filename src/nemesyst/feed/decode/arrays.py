"""Packed arrays and binary vectors out of cells, when all have one dtype and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from bson.binary import VECTOR_SUBTYPE, Binary

from nemesyst.database import unpack
from nemesyst.feed.decode.cells import joined, read
from nemesyst.feed.decode.structure import Structure
from nemesyst.feed.decode.values import is_array, value_at

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.kinds import Array

_VECTOR_HEAD = 7  # length, subtype, type of the elements, padding
_BITS = 0x10


def packed(cells: Cells) -> Array | None:
    """Sub-documents of dtype, shape and data as (rows, *shape) of the dtype; None if they are not all alike.

    Raises:
        RecordError: The first is a packed array whose parts contradict each other.
    """
    first = value_at(cells, 0)
    if not is_array(first) or not _alike(read(cells, "<i4")):
        return None
    array: Array = unpack(first)
    if not array.size:
        return None
    head = int(_length(cells)) - 1 - array.nbytes
    if not _same_head(cells, head):
        return None
    return joined(cells, array.nbytes, head).view(array.dtype).reshape(cells.rows, *array.shape)


def vectors(cells: Cells) -> Array | None:
    """Binary vectors (subtype 9) as (rows, length); None if they are not all alike.

    Raises:
        RecordError: The first is no vector by its own header.
    """
    first = value_at(cells, 0)
    if not isinstance(first, Binary) or first.subtype != VECTOR_SUBTYPE or not _alike(read(cells, "<i4")):
        return None
    array: Array = unpack(first)
    if not array.size or not _same_head(cells, _VECTOR_HEAD):
        return None
    data = joined(cells, len(first) - 2, _VECTOR_HEAD)
    if first[0] == _BITS:
        return np.unpackbits(data, axis=1)[:, : array.size].astype(np.bool_)
    return data.view(array.dtype)


def _length(cells: Cells) -> int:
    """The length with which the first value begins."""
    start = int(cells.at[0])
    return int.from_bytes(cells.frame.batch[start : start + 4], "little", signed=True)


def _same_head(cells: Cells, width: int) -> bool:
    """Whether all values begin with the same ``width`` bytes."""
    start = int(cells.at[0])
    head = Structure(np.frombuffer(cells.frame.batch[start : start + width], np.uint8), np.full(width, 255, np.uint8))
    return all(map(head.fits, cells.blocks(width)))


def _alike(lengths: Array) -> bool:
    return bool((lengths == lengths[0]).all())
