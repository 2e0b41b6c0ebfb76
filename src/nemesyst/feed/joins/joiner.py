"""Brings the fields of another collection to the rows of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.errors import FieldError
from nemesyst.feed.decode import Column, Decoder
from nemesyst.feed.decode.convert import FILL
from nemesyst.feed.joins.keys import Array, Keys, gaps, kind_of, type_of
from nemesyst.feed.joins.match import Gathered, Timeline
from nemesyst.feed.joins.queries import Branches, Queries
from nemesyst.feed.joins.rows import RowDecoder, Rows, empty, taken

if TYPE_CHECKING:
    from nemesyst.feed.joins.check import Found
    from nemesyst.feed.joins.spec import AsOf

Read = Callable[[Branches], Iterable[memoryview]]

KEPT = 64 << 20
"""Bytes up to which the other side is kept in memory as a whole."""


class Joiner:
    """Finds for each row of a chunk the newest earlier row of another collection.

    The other side is read once and kept if it is small. Otherwise each chunk reads what it needs: in the index on
    (by, on), or, without one, in a pass over the collection. Memory grows with the chunk, never with the collection.
    Not for several threads at once.

    Args:
        read: Reads the other collection under the feed's cutoff: takes pipelines, and yields the raw batches of their
            rows, one pipeline after another (:func:`united` makes one of them), without those whose ``_id`` shows
            that they are later than the cutoff. Stages that it adds stand at the front of each pipeline.
        spec: The join, its pipeline with the parameters put in.
        found: What :func:`check_join` found.
        keep: Bytes up to which the other side is kept.
    """

    def __init__(self, read: Read, spec: AsOf, found: Found, *, keep: int = KEPT) -> None:
        self._read, self._spec, self._found, self._keep = read, spec, found, keep
        self._decoder = RowDecoder(spec, found.layouts)
        self._whole: Timeline | None = None
        self._large = keep <= 0
        self._empty = False
        self._tied = False

    def columns(self, by: Array | None, on: Array, *, missing: Array | None = None) -> dict[str, Column]:
        """The fields for the rows of a chunk, by their names in the feed; each always has the same dtype.

        Args:
            by: Device of each row, shape (rows,); None for a join without ``by``.
            on: Time of each row, numbers or datetime64[ms], shape (rows,).
            missing: True where a row lacks one of them, shape (rows,); None if nowhere.

        Raises:
            FieldError: They do not fit those of the other collection, or values of the other collection do not fit.
            DatabaseError: The other collection cannot be read.
        """
        lacking = gaps(on) if by is None else gaps(on) | gaps(by)
        there = np.flatnonzero(~(lacking if missing is None else lacking | missing))
        if not len(there):
            return self._named({}, np.full(len(on), -1))
        here, times = None if by is None else by[there], on[there]
        self._check(here, times)
        line = self._timeline(here, times)
        places = np.full(len(on), -1, np.int64)
        if line is not None:
            places[there] = line.find(here, times, self._spec.span)
        return self._named({} if line is None else dict(line.fields), places)

    def _named(self, fields: dict[str, Column], places: Array) -> dict[str, Column]:
        none = places < 0
        found = {}
        for name, shown in self._spec.renamed.items():
            if name not in fields or bool(none.all()):
                found[shown] = empty(self._found.layouts[name], len(places))
                continue
            column = taken(fields[name], places)
            lost = none if column.missing is None else none | column.missing
            if bool(lost.any()):
                column.values[lost] = FILL.get(column.values.dtype.kind, 0)
                column = Column(column.values, lost)
            found[shown] = Column(column.values, column.missing if bool(lost.any()) else None)
        return found

    def _check(self, by: Array | None, on: Array) -> None:
        spec, found = self._spec, self._found
        pairs = [("on", spec.left_on, on, spec.right_on, found.on_kind)]
        if by is not None:
            pairs.append(("by", str(spec.left_by), by, str(spec.right_by), str(found.by_kind)))
        for argument, left, values, right, kind in pairs:
            if kind_of(values) != kind:
                raise FieldError(
                    f"AsOf {spec.collection}: {argument}: field {left} of the feed holds {kind_of(values)}, and "
                    f"{right} of {spec.collection} holds {kind}: they are never equal or ordered",
                    "Bring them to one kind in one of the pipelines ($toString, $toInt, $toDate).",
                )

    def _timeline(self, by: Array | None, on: Array) -> Timeline | None:
        """Every row that may be wanted, in order; None if there are none."""
        queries = Queries(self._spec, self._found.seek, None if by is None else type_of(by), str(type_of(on)))
        if self._whole is None and not self._large and not self._empty:
            self._read_whole(queries)
        if not self._large:
            return self._whole
        gathered = self._gather(queries, by, on)
        if gathered.tied and not self._tied and self._found.seek:
            self._tied = True  # from now on rows of equal times come by _id, which costs the server a sort
            gathered = self._gather(queries, by, on)
        rows = gathered.rows()
        return None if rows is None else Timeline(str(self._spec.right_by), rows)

    def _rows(self, branches: Branches) -> Iterable[Rows]:
        for batch in self._read(branches):
            rows = self._decoder.rows(batch)
            if len(rows):
                yield rows

    def _read_whole(self, queries: Queries) -> None:
        pieces, size = [], 0
        for rows in self._rows(queries.whole()):
            pieces.append(rows)
            size += rows.nbytes
            if size > self._keep:
                self._large = True
                return
        self._empty = not pieces
        if pieces:
            self._whole = Timeline(str(self._spec.right_by), Rows.joined(pieces))

    def _gather(self, queries: Queries, by: Array | None, on: Array) -> Gathered:
        keys = None if by is None else Keys(str(self._spec.left_by), by)
        gathered = Gathered(keys, by, on)
        devices, floors = None if keys is None else keys.values, self._floors(gathered.lows)
        if self._found.seek is None:
            low = None if floors is None else floors.min(keepdims=True)
            branches = [queries.scan(devices, low, gathered.highs.max(keepdims=True))]
            self._take(gathered, branches)
        else:
            self._seek(queries, gathered, devices, floors)
        return gathered

    def _take(self, gathered: Gathered, queries: Iterable[Branches]) -> None:
        for branches in queries:
            for rows in self._rows(branches):
                gathered.add(rows)

    def _seek(self, queries: Queries, gathered: Gathered, devices: Array | None, floors: Array | None) -> None:
        """Gather rows from the newest before each device's first time up to its last."""

        def of(places: Array) -> Array | None:
            return None if devices is None else devices[places]

        at, lows = np.arange(len(gathered.lows)), gathered.lows
        older, known = self._before(queries.before(of(at), lows, floors, 1), lows)
        starts = np.where(known, older, lows)
        self._take(gathered, queries.between(of(at), starts, gathered.highs, tied=self._tied))
        rank = 1
        while True:
            # a row that the server has and the cutoff leaves out hides those before it: look further back
            hidden = known & ~gathered.begun()[at]
            at, lows = at[hidden], older[hidden]
            if not len(at):
                return
            rank *= 4
            asked = queries.before(of(at), lows, None if floors is None else floors[at], rank)
            older, known = self._before(asked, lows)
            found = at[known]
            self._take(gathered, queries.between(of(found), older[known], lows[known], tied=self._tied))

    def _floors(self, lows: Array) -> Array | None:
        """The oldest times that may count; None: any."""
        span = self._spec.span
        if span is None:
            return None
        if lows.dtype.kind == "M":
            return lows - np.timedelta64(int(span), "ms")
        if isinstance(span, int) and lows.dtype.kind == "i" and lows.min() > np.iinfo(np.int64).min + span:
            return lows - span
        floors: Array = lows.astype(np.float64) - span
        return floors

    def _before(self, queries: Iterable[Branches], lows: Array) -> tuple[Array, Array]:
        """The older time that was found for each device, and whether one was."""
        times, known = lows.copy(), np.zeros(len(lows), np.bool_)
        decoder = Decoder(["at", "on"])
        for branches in queries:
            for batch in self._read(branches):
                columns = decoder.decode(batch)
                places, found = columns.column("at").values, columns.column("on").values
                times = times.astype(np.result_type(times, found))
                times[places], known[places] = found, True
        return times, known
