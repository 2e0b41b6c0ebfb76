"""The ``_id`` of each row as arrays, without a Python object per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.cells import joined as joined_bytes
from nemesyst.feed.decode.cells import kinds_of, read
from nemesyst.feed.decode.convert import converted
from nemesyst.feed.decode.decoder import Decoder
from nemesyst.feed.decode.kinds import COUNTED, DATE, DOCUMENT, DOUBLE, EXTRA, INT32, INT64, SIZE, STRING, Array
from nemesyst.feed.decode.values import value_at
from nemesyst.feed.decode.wanted import ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.columns import Columns

_OBJECT_ID = 7
_PLAIN = ({INT32, INT64}, {DOUBLE}, {DATE}, {STRING})


def id_arrays(columns: Columns) -> Mapping[str | None, Array] | None:
    """The ``_id`` of each row by field, where it is a document, or else under None.

    Whole numbers are int64, fractions float64, dates ``datetime64[ms]``, texts a text array, each of shape (rows,); an
    ObjectId that stands alone is uint8 of shape (rows, 12).

    Returns:
        None where they are something else, or of different fields or kinds.
    """
    if not columns.rows:
        return None
    cells = columns.id_cells()
    kind = cells.one_kind()
    if kind == _OBJECT_ID:
        return {None: joined_bytes(cells, int(SIZE[kind]))}
    if kind == DOCUMENT:
        return _of_documents(columns, cells)
    found = _plain(cells)
    return None if found is None else {None: found}


def _of_documents(columns: Columns, cells: Cells) -> Mapping[str | None, Array] | None:
    names = list(value_at(cells, 0))
    if not names or any(not name or "." in name for name in names):
        return None
    inner = Decoder([f"{ID[0]}.{name}" for name in names]).cells(columns.frame)
    parts = [inner.get((*ID, name)) for name in names]
    known = [each for each in parts if each is not None]
    if len(known) < len(names):
        return None
    arrays = [_plain(each) for each in known]
    made: dict[str | None, Array] = {name: each for name, each in zip(names, arrays, strict=True) if each is not None}
    return made if len(made) == len(names) and _alone(cells, names, known) else None


def _plain(cells: Cells) -> Array | None:
    kinds = kinds_of(cells)
    return converted(cells, np.float64, {}) if any(kinds <= each for each in _PLAIN) else None


def _alone(cells: Cells, names: Sequence[str], parts: Sequence[Cells]) -> bool:
    """Whether the documents hold these values, in this order, and nothing else: by their lengths."""
    size = np.full(cells.rows, 5, np.int64)
    before = cells.at
    for name, part in zip(names, parts, strict=True):
        kinds, at = part.kinds, part.at
        own = SIZE[kinds]
        if (own == COUNTED).any():
            own = np.where(own == COUNTED, EXTRA[kinds] + read(part, "<i4"), own)
        size += own + (2 + len(name.encode()))
        if (at <= before).any():
            return False
        before = at
    return bool((read(cells, "<i4") == size).all())
