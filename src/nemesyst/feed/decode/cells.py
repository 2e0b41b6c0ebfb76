"""The values of one field over the rows of a batch: where they stand, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nemesyst.feed.decode.kinds import ABSENT, BOOL, DOUBLE, INT32, INT64, NULL, UNDEFINED, Array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.feed.decode.frame import Frame

_BLOCK = 1 << 19
_GATHERED = 512
_USUAL = (DOUBLE, INT32, INT64, ABSENT, NULL, BOOL)


class Block(NamedTuple):
    """Some rows, each ``stride`` bytes behind the one before, the first at ``start`` of a buffer."""

    rows: slice
    buffer: bytes | memoryview | Array
    start: int
    stride: int

    @property
    def size(self) -> int:
        """Number of rows."""
        return int(self.rows.stop - self.rows.start)

    def matrix(self, width: int) -> Array:
        """The first bytes of each row, not copied, uint8 of shape (rows, width)."""
        return np.ndarray((self.size, width), np.uint8, self.buffer, self.start, (self.stride, 1))

    def spaced(self, dtype: str, offset: int, count: int, step: int) -> Array:
        """Numbers ``step`` bytes apart in each row, not copied, shape (rows, count)."""
        return np.ndarray((self.size, count), dtype, self.buffer, self.start + offset, (self.stride, step))


@dataclass(frozen=True)
class EvenCells:
    """Values of one type at one offset from the start of each document, in documents of one length.

    Attributes:
        frame: The batch.
        kind: The type of all values.
        offset: Bytes from the start of a document to the value.
    """

    frame: Frame
    kind: int
    offset: int

    @property
    def rows(self) -> int:
        """Number of rows of the batch."""
        return self.frame.rows

    @property
    def kinds(self) -> Array:
        """The type of each value."""
        return np.full(self.rows, self.kind, np.uint8)

    @property
    def at(self) -> Array:
        """Offset of each value in the batch."""
        return self.frame.starts + self.offset

    def present(self) -> EvenCells:
        """The cells without those that are absent or null; ask only when there are others."""
        return self

    def missing(self) -> Array | None:
        """True where the value is absent or null; None if nowhere."""
        return np.ones(self.rows, np.bool_) if self.kind in (NULL, UNDEFINED) else None

    def null(self) -> Array | None:
        """True where the value is null; None if nowhere."""
        return self.missing()

    def one_kind(self) -> int | None:
        """The type, if all values have the same."""
        return self.kind

    def read(self, dtype: str, out: Array) -> Array:
        """Copy the values, as this dtype, into ``out`` of shape (rows,) and of any dtype."""
        for run in self.frame.runs:
            count = run.last - run.first
            out[run.first : run.last] = np.ndarray(
                (count,), dtype, self.frame.batch, run.start + self.offset, (run.stride,)
            )
        return out

    def blocks(self, width: int, shift: int = 0) -> Iterator[Block]:
        """Blocks of rows that hold ``width`` bytes of each value, from byte ``shift`` on."""
        for run in self.frame.runs:
            step = max(1, _BLOCK // max(width, 64))
            for first in range(run.first, run.last, step):
                start = run.start + (first - run.first) * run.stride + self.offset + shift
                yield Block(slice(first, min(first + step, run.last)), self.frame.batch, start, run.stride)


@dataclass(frozen=True)
class LooseCells:
    """Values of any types anywhere in the batch.

    Attributes:
        frame: The batch.
        kinds: The type of each value, 0 where there is none, uint8 of shape (rows,).
        at: Offset of each value, int64 of shape (rows,).
    """

    frame: Frame
    kinds: Array
    at: Array

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.kinds)

    @cached_property
    def counts(self) -> dict[int, int]:
        """How many values there are of each type that is there."""
        found = {}
        for kind in _USUAL:  # to look for a few costs less than to count them all
            count = int(np.count_nonzero(self.kinds == kind))
            if count:
                found[kind] = count
            if sum(found.values()) == self.rows:
                return found
        counts = np.bincount(self.kinds)
        return {kind: int(counts[kind]) for kind in np.flatnonzero(counts).tolist()}

    def present(self) -> LooseCells:
        """The cells that are neither absent nor null."""
        missing = self.missing()
        return self if missing is None else LooseCells(self.frame, self.kinds[~missing], self.at[~missing])

    def missing(self) -> Array | None:
        """True where the value is absent or null; None if nowhere."""
        return self._are(ABSENT, NULL, UNDEFINED)

    def null(self) -> Array | None:
        """True where the value is null; None if nowhere."""
        return self._are(NULL, UNDEFINED)

    def _are(self, *kinds: int) -> Array | None:
        there = [self.kinds == kind for kind in kinds if kind in self.counts]
        return np.logical_or.reduce(there) if len(there) > 1 else there[0] if there else None

    def one_kind(self) -> int | None:
        """The type, if all values have the same."""
        return next(iter(self.counts)) if len(self.counts) == 1 else None

    def read(self, dtype: str, out: Array) -> Array:
        """Copy the values, as this dtype, into ``out`` of shape (rows,) and of any dtype."""
        if np.dtype(dtype).itemsize == 1:
            out[:] = self.frame.data[self.at].view(dtype)
        elif np.dtype(dtype).itemsize == 4:
            out[:] = self.words.astype(np.uint32).view(dtype)
        else:
            out[:] = self.words.view(dtype)
        return out

    @property
    def words(self) -> Array:
        """The eight bytes at the start of each value, uint64 of shape (rows,)."""
        return self.frame.words[self.at]

    def blocks(self, width: int, shift: int = 0) -> Iterator[Block]:
        """Blocks of rows that hold ``width`` bytes of each value, from byte ``shift`` on."""
        step = max(1, _BLOCK // max(width, 1))
        for first in range(0, self.rows, step):
            here = slice(first, min(first + step, self.rows))
            gathered = self._gather(self.at[here] + shift, width)
            yield Block(here, gathered, 0, gathered.shape[1])

    def _gather(self, at: Array, width: int) -> Array:
        """Bytes from each offset on, at least ``width``, uint8 and contiguous."""
        if width <= _GATHERED:  # whole words: there is room behind the batch
            words = np.empty((len(at), -(-width // 8)), np.uint64)
            for i in range(words.shape[1]):
                words[:, i] = self.frame.words[np.minimum(at + 8 * i, len(self.frame.words) - 1)]
            return words.view(np.uint8)
        raw = self.frame.raw
        rows = [raw[start : start + width].ljust(width, b"\0") for start in at.tolist()]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)


Cells = EvenCells | LooseCells


def kinds_of(cells: Cells) -> set[int]:
    """The types that the values have; 0 among them where there is none."""
    if isinstance(cells, LooseCells):
        return set(cells.counts)
    return {cells.kind} if cells.rows else set()


def read(cells: Cells, dtype: str) -> Any:
    """The values as a new array of this dtype, shape (rows,)."""
    return cells.read(dtype, np.empty(cells.rows, dtype))


def joined(cells: Cells, width: int, shift: int = 0) -> Array:
    """``width`` bytes of each value, from byte ``shift`` on, as a new uint8 array of shape (rows, width)."""
    out = np.empty((cells.rows, width), np.uint8)
    for block in cells.blocks(width, shift):
        out[block.rows] = block.matrix(width)
    return out
