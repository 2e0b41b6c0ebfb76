"""The one-layout case: all documents have one length, and the same keys and types at the same places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.cells import EvenCells
from nemesyst.feed.decode.kinds import BINARY, DOCUMENT, LEASTS, SIZES, STRING, damaged
from nemesyst.feed.decode.scan import elements
from nemesyst.feed.decode.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.feed.decode.frame import Frame
    from nemesyst.feed.decode.wanted import Node, Path


@dataclass(frozen=True)
class Layout:
    """Where the fields stand in documents of one layout.

    Attributes:
        structure: What makes a document one of this layout.
        spots: Type and offset of each field that is looked for and there.
    """

    structure: Structure
    spots: Mapping[Path, tuple[int, int]]

    def cells(self, frame: Frame) -> dict[Path, EvenCells] | None:
        """The cells of each field if all documents of a frame of the same width have this layout, else None."""
        width = self.structure.looked_at  # what lies between is not read, so does not count for the size of a block
        if not all(map(self.structure.fits, EvenCells(frame, DOCUMENT, 0).blocks(width))):
            return None
        return {path: EvenCells(frame, kind, offset) for path, (kind, offset) in self.spots.items()}


def layout_of(document: bytes, root: Node) -> Layout:
    """The layout of a document.

    Raises:
        RecordError: It is damaged.
    """
    model = np.frombuffer(document, np.uint8)
    counts = np.full(len(document), 255, np.uint8)
    spots: dict[Path, tuple[int, int]] = {}

    def walk(node: Node, begin: int, end: int) -> None:
        if document[end] != 0:
            raise damaged("a document has no end")
        for kind, key, start, stop in elements(document, begin, end):
            _free(counts, kind, start, stop)
            child = node.child(key)
            if child is None:
                continue
            if child.wanted:
                spots[child.path] = kind, start
            if child.children and kind == DOCUMENT:
                counts[start + 4 : stop] = 255
                walk(child, start + 4, stop - 1)

    walk(root, 4, len(document) - 1)
    return Layout(Structure(model, counts), spots)


def _free(counts: np.ndarray[tuple[int], np.dtype[np.uint8]], kind: int, start: int, stop: int) -> None:
    """Let the content of a value differ, and keep what says where it ends."""
    if SIZES[kind] >= 0:
        counts[start:stop] = 0
    elif LEASTS[kind] or kind == BINARY:
        counts[start + (5 if kind == BINARY else 4) : stop - (kind == STRING)] = 0
