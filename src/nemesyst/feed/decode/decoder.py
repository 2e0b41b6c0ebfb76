"""From the bytes of a cursor's reply to columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemesyst.feed.decode.columns import Columns
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.decode.layout import layout_of
from nemesyst.feed.decode.walk import walk
from nemesyst.feed.decode.wanted import tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.frame import Frame
    from nemesyst.feed.decode.layout import Layout
    from nemesyst.feed.decode.lists import ListLayout
    from nemesyst.feed.decode.wanted import Path

_WIDTHS = 64
_EACH = 4


class Decoder:
    """Decodes the batches of a feed; learns from each how the next ones will look. Not for several threads at once.

    Args:
        names: Fields, dotted for documents in documents, in the order wanted; None for every top-level field that
            the documents of a batch have.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        self._names = None if names is None else list(dict.fromkeys(names))
        self._root = tree(self._names)
        self._layouts: dict[int, list[Layout]] = {}
        self._lists: dict[str, dict[int, ListLayout]] = {}

    def decode(self, batch: bytes | memoryview) -> Columns:
        """Find the fields of each document; a column is made when it is asked for.

        Args:
            batch: The BSON array of a reply's ``firstBatch`` or ``nextBatch``, with its length and its closing zero.

        Raises:
            RecordError: The bytes are not such an array.
        """
        found = frame(batch)
        return Columns(found, self.cells(found), self._names, self._lists)

    def cells(self, found: Frame) -> Mapping[Path, Cells]:
        """Where the values of each field are in a batch whose documents were found."""
        if not found.rows:
            return {}
        if found.width:
            known = self._layouts.setdefault(found.width, [])
            for layout in known:
                cells = layout.cells(found)
                if cells is not None:
                    return cells
            layout = layout_of(found.document(0), self._root)
            cells = layout.cells(found)
            if cells is not None:
                self._keep(found.width, layout)
                return cells
        return walk(found, self._root)

    def _keep(self, width: int, layout: Layout) -> None:
        if len(self._layouts) > _WIDTHS:
            self._layouts.clear()
        known = self._layouts.setdefault(width, [])
        known.insert(0, layout)
        del known[_EACH:]
