"""The lockstep walk: all documents of a batch advance by one element in each NumPy step.

Types may differ from row to row. The keys are tried in the order of a program; a row that does not have the key waits,
so an absent field costs it nothing. Rows that are not at their end when the program is, have keys that it lacks, or in
another order: the first of them brings the next program, and the last few are gone through one by one.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.cells import LooseCells
from nemesyst.feed.decode.kinds import BY_EYE, COUNTED, DOCUMENT, EXTRA, LEAST, SIZE, SIZES, UNKNOWN, Array, damaged
from nemesyst.feed.decode.scan import elements, size
from nemesyst.feed.decode.wanted import comparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.decode.frame import Frame
    from nemesyst.feed.decode.wanted import Node, Path, Step

_FEW = 32
"""So few rows are gone through one by one: a step over them costs more in calls than in work."""
_PASSES, _MUCH = 8, 0.95
"""After so many passes in a row that left so much of the rows, they have no keys in common."""
_MOST = 0.5
"""If more of the rows have a key, all are taken along."""


def walk(frame: Frame, root: Node) -> dict[Path, LooseCells]:
    """The cells of each field that is looked for and found.

    Raises:
        RecordError: A document is damaged.
    """
    return _Walk(frame).run(root)


class _Walk:
    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.found: dict[Path, LooseCells] = {}

    def run(self, root: Node) -> dict[Path, LooseCells]:
        self.below(root, None, self.frame.starts + 4, self.frame.ends)
        return self.found

    def below(self, node: Node, rows: Array | None, begin: Array, end: Array) -> None:
        """Go through the documents that have their elements between ``begin`` and ``end``; rows: None for all."""
        position, steps, passes = begin.copy(), node.steps(node.program), 0
        while len(position) >= _FEW and passes < _PASSES:
            self.advance(steps, rows, position, end)
            left = np.flatnonzero(position != end)
            if not len(left):
                return
            passes = passes + 1 if len(left) > len(position) * _MUCH else 0
            if len(left) < len(position):
                begin, position, end = begin[left], position[left], end[left]
                rows = left if rows is None else rows[left]
            steps = self.program(node, int(begin[0]), int(position[0]), int(end[0]))
            if not steps:  # its next key cannot be compared by words
                self.alone(node, 0 if rows is None else int(rows[0]), int(position[0]), int(end[0]))
                position[0] = end[0]
        for i in np.flatnonzero(position != end).tolist():
            self.alone(node, i if rows is None else int(rows[i]), int(position[i]), int(end[i]))

    def program(self, node: Node, begin: int, position: int, end: int) -> list[Step]:
        """The keys that a document has from ``position`` on, up to one that cannot be compared by words."""
        found = [(key, start) for _, key, start, _ in elements(self.frame.raw, begin, end)]
        node.learn([key for key, _ in found])
        rest = [key for key, start in found if start > position]
        return node.steps(list(takewhile(comparable, rest)))

    def advance(self, steps: Sequence[Step], rows: Array | None, position: Array, end: Array) -> None:
        """Take each row as far as the program leads it; moves ``position``."""
        words = self.frame.words
        for step in steps:
            word = words[position]
            same = (word & step.mask) == step.head
            for offset, content in step.more:
                same &= words[position + offset] == content
            count = int(np.count_nonzero(same))
            if count == len(same):
                self.all_have(step, rows, word.astype(np.uint8), position, end)
            elif count > len(same) * _MOST:
                self.most_have(step, rows, word.astype(np.uint8) * same, position, end)
            elif count:
                self.some_have(step, rows, np.flatnonzero(same), position, end)
        if bool((position > end).any()):
            raise damaged("a value ends beyond its document")

    def all_have(self, step: Step, rows: Array | None, kinds: Array, position: Array, end: Array) -> None:
        """Each row has the key."""
        start = position + step.size
        self.after(kinds, start, end, position)
        if step.node is not None:
            self.note(step.node, rows, kinds, start, position)

    def most_have(self, step: Step, rows: Array | None, kinds: Array, position: Array, end: Array) -> None:
        """Nearly each row has the key; to take the others along, as of type 0, costs less than to leave them out."""
        start, sizes = position + step.size, step.sizes[kinds]
        odd = np.flatnonzero(sizes < 0)
        position += sizes
        if len(odd):
            position[odd] = self.after_odd(kinds[odd], start[odd], end[odd])
        if step.node is None:
            return
        if rows is None and step.node.path not in self.found:
            self.note(step.node, None, kinds, start, position)
        else:
            among = np.flatnonzero(kinds)
            within = among if rows is None else rows[among]
            self.note(step.node, within, kinds[among], start[among], position[among])

    def some_have(self, step: Step, rows: Array | None, among: Array, position: Array, end: Array) -> None:
        """Some rows have the key: those of the numbers ``among``."""
        here = position[among]
        kinds, start, stop = self.frame.words[here].astype(np.uint8), here + step.size, here
        self.after(kinds, start, end[among], stop)
        position[among] = stop
        if step.node is not None:
            self.note(step.node, among if rows is None else rows[among], kinds, start, stop)

    def after(self, kinds: Array, start: Array, end: Array, out: Array) -> None:
        """Write where the values that begin at ``start`` end; fixed sizes are not held against ``end``."""
        first = int(kinds[0])
        if SIZES[first] >= 0 and bool((kinds == first).all()):
            np.add(start, SIZES[first], out=out)
            return
        sizes = SIZE[kinds]
        np.add(start, sizes, out=out)
        odd = np.flatnonzero(sizes < 0)
        if len(odd) == len(kinds):
            out[:] = self.after_odd(kinds, start, end)
        elif len(odd):
            out[odd] = self.after_odd(kinds[odd], start[odd], end[odd])

    def after_odd(self, kinds: Array, start: Array, end: Array) -> Array:
        """Where values end whose size is not told by their type."""
        sizes = SIZE[kinds]
        if bool((sizes == UNKNOWN).any()):
            raise damaged(f"there is no type {int(kinds[sizes == UNKNOWN][0]):#04x}")
        counted = sizes == COUNTED
        if bool(((start + 4 > end) & counted).any()):
            raise damaged("a length ends beyond its document")
        lengths = self.frame.words[start].astype(np.uint32).view(np.int32).astype(np.int64)
        if bool(((lengths < LEAST[kinds]) & counted).any()):
            raise damaged("a value has less than the least length")
        stop: Array = start + EXTRA[kinds] + lengths
        for i in np.flatnonzero(sizes == BY_EYE).tolist():
            stop[i] = start[i] + size(self.frame.raw, int(kinds[i]), int(start[i]), int(end[i]))
        if bool((stop > end).any()):
            raise damaged(f"the value at byte {int(start[stop > end][0])} ends beyond its document")
        return stop

    def note(self, node: Node, rows: Array | None, kinds: Array, start: Array, stop: Array) -> None:
        """Keep where the values are, and go into those that are documents with something to look for."""
        if node.wanted:
            self.keep(node.path, rows, kinds, start)
        if not node.children:
            return
        inside = np.flatnonzero(kinds == DOCUMENT)
        if not len(inside):
            return
        if len(inside) < len(kinds):
            rows = inside if rows is None else rows[inside]
            start, stop = start[inside], stop[inside]
        if self.frame.data[stop - 1].any():
            raise damaged("a document has no end")
        self.below(node, rows, start + 4, stop - 1)

    def keep(self, path: Path, rows: Array | None, kinds: Array, start: Array) -> None:
        if rows is None:
            self.found[path] = LooseCells(self.frame, kinds, start)
            return
        cells = self.cells(path)
        cells.kinds[rows] = kinds
        cells.at[rows] = start

    def cells(self, path: Path) -> LooseCells:
        if path not in self.found:
            count = self.frame.rows
            self.found[path] = LooseCells(self.frame, np.zeros(count, np.uint8), np.zeros(count, np.int64))
        return self.found[path]

    def alone(self, node: Node, row: int, begin: int, end: int) -> None:
        """Go through the rest of one document."""
        raw = self.frame.raw
        for kind, key, start, stop in elements(raw, begin, end):
            child = node.child(key)
            if child is None:
                continue
            if child.wanted:
                cells = self.cells(child.path)
                cells.kinds[row], cells.at[row] = kind, start
            if child.children and kind == DOCUMENT:
                if raw[stop - 1] != 0:
                    raise damaged("a document has no end")
                self.alone(child, row, start + 4, stop - 1)
