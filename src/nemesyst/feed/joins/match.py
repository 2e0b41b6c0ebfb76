"""Which of the other rows belongs to which row of the feed, without Python per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.joins.keys import Array, Grid, Keys
from nemesyst.feed.joins.rows import Rows, newest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.feed.decode import Column

_SPARE = 65_536
"""Rows that may be gathered beyond what can still be needed."""


class Timeline:
    """Other rows in order of device and time, ready to be looked up.

    Args:
        what: The field of the device, for messages.
        rows: The rows in the order of their arrival, by ``_id`` where times are equal.
    """

    def __init__(self, what: str, rows: Rows) -> None:
        self._keys = None if rows.by is None else Keys(what, rows.by)
        self._grid = Grid(_codes(self._keys, rows.by, len(rows)), rows.on)
        chosen, _ = newest(self._grid.cells, rows.on)
        self._cells = self._grid.cells[chosen]
        self._on = rows.on[chosen]
        self.fields: Mapping[str, Column] = rows.take(chosen).fields

    def find(self, by: Array | None, on: Array, span: float | None) -> Array:
        """The newest row that is not later, for each device and time.

        Args:
            by: The devices, shape (rows,).
            on: The times, shape (rows,).
            span: How much older it may be, ms for dates; None: any age.

        Returns:
            Indices into :attr:`fields`, -1 where there is none; int64, shape (rows,).
        """
        codes = _codes(self._keys, by, len(on))
        found = np.searchsorted(self._cells, self._grid.cell_behind(codes, on), side="left") - 1
        valid = (codes >= 0) & (found >= 0)
        found[~valid] = 0
        valid &= self._grid.device(self._cells[found]) == codes
        if span is not None:
            age = on - self._on[found]
            valid &= age <= (np.timedelta64(int(span), "ms") if age.dtype.kind == "m" else span)
        return np.where(valid, found, -1)


class Gathered:
    """Of the rows that stream by, those that may still belong to a row of a chunk: one for each of its times at most.

    Args:
        keys: Distinct devices of the chunk; None: there is but one, without a name.
        by: Device of each row of the chunk.
        on: Time of each row of the chunk.
    """

    def __init__(self, keys: Keys | None, by: Array | None, on: Array) -> None:
        self._keys = keys
        codes = _codes(keys, by, len(on))
        self._grid = Grid(codes, on)
        order = np.argsort(self._grid.cells, kind="stable")
        self._slots = self._grid.cells[order]
        ordered = codes[order]
        self._first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        self.lows = on[order[self._first]]
        """First time of each device."""
        self.highs = on[order[np.append(self._first[1:], len(order)) - 1]]
        """Last time of each device."""
        self._pieces: list[Rows] = []
        self._places: list[Array] = []
        self._count = 0
        self.tied = False
        """Whether there were two rows of one time to choose from."""

    def add(self, rows: Rows) -> None:
        """Take what may be needed; of equal times the later one counts."""
        codes = _codes(self._keys, rows.by, len(rows))
        cells = self._grid.first_cell(codes, rows.on)
        places = np.searchsorted(self._slots, cells, side="left")
        inside = np.minimum(places, len(self._slots) - 1)
        useful = np.flatnonzero((codes >= 0) & (places == inside) & (self._grid.device(self._slots[inside]) == codes))
        chosen, tied = newest(places[useful], rows.on[useful])
        self.tied |= tied
        if len(chosen):
            self._pieces.append(rows.take(useful[chosen]))
            self._places.append(places[useful[chosen]])
            self._count += len(chosen)
        if self._count > 2 * len(self._slots) + _SPARE:
            self._compact()

    def rows(self) -> Rows | None:
        """What was gathered; None if nothing."""
        self._compact()
        return self._pieces[0] if self._pieces else None

    def begun(self) -> Array:
        """Of each device, whether there is a row that is not later than its first time; bool, shape (devices,)."""
        self._compact()
        return np.isin(self._first, self._places[0]) if self._places else np.zeros(len(self._first), np.bool_)

    def _compact(self) -> None:
        if len(self._pieces) < 2:
            return
        rows, places = Rows.joined(self._pieces), np.concatenate(self._places)
        chosen, tied = newest(places, rows.on)
        self.tied |= tied
        self._pieces, self._places, self._count = [rows.take(chosen)], [places[chosen]], len(chosen)


def _codes(keys: Keys | None, by: Array | None, rows: int) -> Array:
    return np.zeros(rows, np.int64) if keys is None or by is None else keys.codes(by)
