"""Texts out of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.cells import read
from nemesyst.feed.decode.kinds import Array, damaged

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Cells

_LONG = 512


def texts(cells: Cells) -> Array:
    """Texts as a NumPy text array, as wide as the longest.

    Raises:
        RecordError: A text is not UTF-8.
    """
    lengths = read(cells, "<i4") - 1  # without the NUL
    width = int(lengths.max())
    if width > _LONG:
        return np.array(_decoded(cells, lengths, np.arange(cells.rows)))
    if width == 0:
        return np.zeros(cells.rows, "<U1")
    codes = np.empty((cells.rows, width), np.uint32)
    foreign = np.zeros(cells.rows, np.bool_)
    even = bool((lengths == width).all())
    for block in cells.blocks(width, 4):
        here, matrix = block.rows, block.matrix(width)
        inside = matrix if even else np.where(np.arange(width) < lengths[here, None], matrix, np.uint8(0))
        codes[here] = inside
        if np.bitwise_or.reduce(inside, axis=None) & 0x80:
            foreign[here] = (inside & 0x80).any(axis=1)
    out = codes.view(f"<U{width}")[:, 0]
    return _with_foreign(cells, lengths, out, np.flatnonzero(foreign))


def _with_foreign(cells: Cells, lengths: Array, out: Array, rows: Array) -> Array:
    """Texts of ASCII, and those of ``rows``, which have fewer characters than bytes."""
    if not len(rows):
        return out
    decoded = _decoded(cells, lengths, rows)
    out[rows] = decoded
    ascii_lengths = np.delete(lengths, rows)
    width = max(1, *map(len, decoded), int(ascii_lengths.max(initial=0)))
    return out.astype(f"<U{width}")


def _decoded(cells: Cells, lengths: Array, rows: Array) -> list[str]:
    raw = cells.frame.plain
    starts = (cells.at[rows] + 4).tolist()
    try:
        return [raw[start : start + n].decode() for start, n in zip(starts, lengths[rows].tolist(), strict=True)]
    except UnicodeDecodeError:
        raise damaged("a text is not UTF-8") from None
