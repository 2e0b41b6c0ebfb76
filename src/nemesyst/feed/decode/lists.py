"""Lists of numbers out of cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.decode.cells import read
from nemesyst.feed.decode.kinds import ARRAY, DTYPES, NUMBERS, SIZE, Array, damaged
from nemesyst.feed.decode.mixed import mixed_lists
from nemesyst.feed.decode.scan import elements
from nemesyst.feed.decode.structure import Structure

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Block, Cells

_MANY_ROWS = 16
_FEW_STRETCHES = 16


@dataclass(frozen=True)
class ListLayout:
    """Lists of one length in bytes, with numbers of the same types at the same places.

    Attributes:
        structure: What makes a list one of this layout.
        shape: Of the numbers; lists in lists have several axes.
        offsets: Of each number from the start of the list, int64 of shape (numbers,).
        kinds: Type of each number, uint8 of shape (numbers,).
    """

    structure: Structure
    shape: tuple[int, ...]
    offsets: Array
    kinds: Array

    @cached_property
    def _stretches(self) -> list[tuple[int, int, int]]:
        """First and last number (exclusive), and distance in bytes, of numbers of one type at equal distances."""
        steps = np.diff(self.offsets)
        found, first, count = [], 0, len(self.offsets)
        changes = np.union1d(np.flatnonzero(np.diff(steps)) + 2, np.flatnonzero(np.diff(self.kinds)) + 1)
        for last in [*changes.tolist(), count]:
            if last > first:
                found.append((first, last, int(steps[first]) if last - first > 1 else 8))
                first = last
        return found

    def read(self, cells: Cells, out: Array) -> Array | None:
        """Copy the numbers of all rows into ``out``, shape (rows, numbers); None if a row has another layout."""
        for block in cells.blocks(len(self.structure.model)):
            if not self.structure.fits(block):
                return None
            with np.errstate(over="raise", invalid="ignore"):
                self._copy(block, out[block.rows])
        return out

    def _copy(self, block: Block, out: Array) -> None:
        if len(self._stretches) <= _FEW_STRETCHES:
            for first, last, step in self._stretches:
                part = block.spaced(DTYPES[int(self.kinds[first])], int(self.offsets[first]), last - first, step)
                out[:, first:last] = _rounded(part, out)
            return
        for kind in np.unique(self.kinds).tolist():
            which, dtype = np.flatnonzero(self.kinds == kind), DTYPES[kind]
            count = len(self.structure.model) - np.dtype(dtype).itemsize + 1
            out[:, which] = _rounded(block.spaced(dtype, 0, count, 1)[:, self.offsets[which]], out)


def _rounded(part: Array, out: Array) -> Array:
    # By way of float64, as everywhere: a value becomes the same float whatever type its neighbours have.
    return part.astype(np.float64) if part.dtype == np.int64 and out.dtype != np.float64 else part


def lists(cells: Cells, dtype: Any, known: dict[int, ListLayout]) -> Array | None:
    """Lists of numbers as floats of shape (rows, *shape); None if they are not alike, or hold other things.

    Args:
        cells: Lists alone, at least one.
        dtype: Of the result.
        known: Layouts by length in bytes; new ones are put in.

    Raises:
        RecordError: The first list is damaged.
    """
    lengths = read(cells, "<i4")
    width = int(lengths[0])
    if bool((lengths == width).all()):
        for layout_for in (known.get, partial(_learn, cells, known)):  # one after the other
            layout = layout_for(width)
            if layout is not None:
                out = np.empty((cells.rows, len(layout.offsets)), dtype)
                if layout.read(cells, out) is not None:
                    return out.reshape(cells.rows, *layout.shape)
    return mixed_lists(cells, lengths, dtype) if cells.rows >= _MANY_ROWS else None


def _learn(cells: Cells, known: dict[int, ListLayout], width: int) -> ListLayout | None:
    start = int(cells.at[0])
    layout = layout_of(bytes(cells.frame.batch[start : start + width]))
    if layout is not None:
        if len(known) > 64:
            known.clear()
        known[width] = layout
    return layout


def layout_of(data: bytes) -> ListLayout | None:
    """The layout of a list; None if it is ragged, or holds other things than numbers.

    Raises:
        RecordError: It is damaged.
    """
    offsets: list[int] = []
    kinds: list[int] = []

    def shape_of(begin: int, end: int) -> tuple[int, ...] | None:
        if data[end] != 0:
            raise damaged("a list has no end")
        shapes: set[tuple[int, ...] | None] = set()
        count = 0
        for kind, _, start, stop in elements(data, begin, end):
            count += 1
            if kind in NUMBERS:
                offsets.append(start)
                kinds.append(kind)
                shapes.add(())
            else:
                shapes.add(shape_of(start + 4, stop - 1) if kind == ARRAY else None)
            if len(shapes) > 1 or None in shapes:
                return None
        return (count, *(shapes.pop() or ())) if shapes else (0,)

    shape = shape_of(4, len(data) - 1)
    if shape is None:
        return None
    model = np.frombuffer(data, np.uint8)
    counts = np.full(len(data), 255, np.uint8)
    at, types = np.array(offsets, np.int64), np.array(kinds, np.uint8)
    for byte in range(8):
        counts[(at + byte)[SIZE[types] > byte]] = 0
    return ListLayout(Structure(model, counts), shape, at, types)
