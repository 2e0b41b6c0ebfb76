"""One epoch: blocks of samples opened one after the other, and cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.feed.loader import read_ahead
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.table import ID, Table
from nemesyst.feed.windows import gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from nemesyst.feed.chunks import Chunks
    from nemesyst.feed.order import Block
    from nemesyst.feed.source import Identify
    from nemesyst.feed.windows import Window
    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]

_RESIDENT = 64 << 20
"""Bytes of the cache's files that may stay mapped between epochs; to map them again costs a little."""


@dataclass
class Opened:
    """Samples that can be taken from, in their order.

    Attributes:
        arrays: What they are taken from.
        index: Where each begins, in the order in which they come.
        window: How long they are; None: one row.
        at: How many were taken.
    """

    arrays: Mapping[str, Array]
    index: Array | slice
    window: Window | None
    at: int = 0

    @property
    def left(self) -> int:
        """How many are left."""
        size = self.index.stop - self.index.start if isinstance(self.index, slice) else len(self.index)
        return int(size) - self.at

    def take(self, count: int) -> Batch:
        """The next ``count`` samples."""
        begin, self.at = self.at, self.at + count
        if isinstance(self.index, slice):
            rows: Any = slice(self.index.start + begin, self.index.start + self.at)
        else:
            rows = self.index[begin : self.at]
        if self.window is None:
            return {name: _taken(values, rows) for name, values in self.arrays.items() if _shown(name)}
        starts = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        batch = gathered(self.window, self.arrays, starts)
        if ID in self.arrays:
            batch[ID] = self.arrays[ID][starts + self.window.length - 1]
        return batch


def _shown(name: str) -> bool:
    return not name.startswith("#") or name == ID


def _taken(values: Array, rows: Array | slice) -> Array:
    if isinstance(rows, slice):
        found: Array = values[rows]
        return found if found.flags.writeable else found.copy()
    return values.take(rows, axis=0)


def opened(
    chunks: Chunks, blocks: Iterable[Block], part: int | None, *, room: int, ids: Identify | None
) -> Generator[Opened]:
    """The blocks, opened: out of the cache as a whole if all is there, else read ahead.

    Args:
        chunks: The tables.
        blocks: What to go through.
        part: The part whose samples come; None: all.
        room: How many tables may wait.
        ids: Makes ``#id`` out of the rows' ``_id``, and the cache is left alone; None: there is none.
    """
    window = chunks.source.spec.window
    if ids is None and (whole := chunks.whole()) is not None:
        large = sum(values.nbytes for values in whole.arrays.values()) > _RESIDENT
        for block in blocks:
            yield _of_whole(chunks, whole, block, part)
            if large:
                chunks.release(piece.chunk for piece in block.pieces)
        return
    ahead: list[Block] = []

    def numbers() -> Iterator[int]:
        for block in blocks:
            ahead.append(block)
            yield from (piece.chunk for piece in block.pieces)

    load = chunks.load if ids is None else partial(chunks.load_with_ids, ids=ids)
    rows = chunks.source.rows
    live = rows if isinstance(rows, LiveRows) else None
    tables = read_ahead(load, numbers(), room, beside=chunks.beside)
    try:
        found: list[Table] = []
        for table in tables:
            found.append(table)
            if len(found) == len(ahead[0].pieces):
                block = ahead.pop(0)
                yield _of_tables(chunks, found, block, part, window)
                chunks.release(piece.chunk for piece in block.pieces)
                found = []
    finally:
        tables.close()  # type: ignore[attr-defined]  # a generator
        if live is not None:
            live.bounds.drop()


def _of_tables(
    chunks: Chunks, tables: Sequence[Table], block: Block, part: int | None, window: Window | None
) -> Opened:
    there = [(table, piece) for table, piece in zip(tables, block.pieces, strict=True) if table.rows]
    if not there:
        return Opened({}, slice(0, 0), window)
    joined = Table.joined([table for table, _ in there])
    indices = []
    begin = 0
    for table, piece in there:
        indices.append(chunks.index(table, part)[piece.start : piece.stop] + begin)
        begin += table.rows
    return Opened(joined.arrays, _ordered(block, indices), window)


def _of_whole(chunks: Chunks, whole: Whole, block: Block, part: int | None) -> Opened:
    indices = [
        chunks.index(whole.table(piece.chunk), part)[piece.start : piece.stop] + whole.starts[piece.chunk]
        for piece in block.pieces
        if piece.chunk in whole.starts
    ]
    if not indices:
        return Opened({}, slice(0, 0), chunks.source.spec.window)
    return Opened(whole.arrays, _ordered(block, indices), chunks.source.spec.window)


def _ordered(block: Block, indices: Sequence[Array]) -> Array | slice:
    index = indices[0] if len(indices) == 1 else np.concatenate(indices)
    chosen: Array = index[block.order(len(index))]
    if block.seed is None and len(chosen) and chosen[-1] - chosen[0] == len(chosen) - 1:
        return slice(int(chosen[0]), int(chosen[-1]) + 1)  # rows that lie together need no copy
    return chosen


@dataclass(frozen=True)
class Whole:
    """All rows of a plan out of the cache.

    Attributes:
        arrays: One for all chunks.
        starts: First row of each chunk that has rows.
        rows: How many rows each has.
    """

    arrays: Mapping[str, Array]
    starts: Mapping[int, int]
    rows: Mapping[int, int]

    def table(self, chunk: int) -> Table:
        """The rows of one chunk."""
        begin = self.starts[chunk]
        return Table(self.arrays).take(slice(begin, begin + self.rows[chunk]))


def cut(
    stream: Iterator[Opened], sizes: Iterator[int], empty: Callable[[], Batch] | None, turn: tuple[int, int] = (0, 1)
) -> Generator[tuple[int, Batch]]:
    """Batches of the given sizes, the last one shorter, with their numbers.

    Args:
        stream: Where samples come from.
        sizes: Samples of each batch.
        empty: Makes a batch without rows, for a step of none; None: there are no such steps.
        turn: Worker and number of workers: batches of the others are passed over.
    """
    here: Opened | None = None
    for number, size in enumerate(sizes):
        mine = number % turn[1] == turn[0]
        pieces: list[Batch] = []
        need = size
        while need:
            if here is None or not here.left:
                here = next(stream, None)
                if here is None:
                    break
                continue
            count = min(need, here.left)
            if mine:
                pieces.append(here.take(count))
            else:
                here.at += count
            need -= count
        if need == size and (size or empty is None):
            return
        if mine:
            yield number, joined(pieces) if pieces or empty is None else empty()


def joined(pieces: Sequence[Batch]) -> Batch:
    """Batches, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def need_rows(batches: Sequence[Batch], what: object) -> None:
    """Refuse to join no batches.

    Raises:
        FeedError: There are none.
    """
    if not batches:
        raise FeedError(f"{what!r} has no rows", "Check the pipeline and the split, or put rows in first.")
