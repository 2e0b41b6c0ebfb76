"""The chunks of a plan as tables: read, decoded, joined, divided into parts, assembled and digested."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.errors import FieldError
from nemesyst.feed.assemble import Assembler
from nemesyst.feed.decode import Decoder
from nemesyst.feed.joined import Joined
from nemesyst.feed.parts import parts
from nemesyst.feed.table import BY, ID, ON, PART, Table
from nemesyst.feed.windows import ANCHOR

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.feed.assemble import Layout
    from nemesyst.feed.categories import Categories
    from nemesyst.feed.decode import Columns
    from nemesyst.feed.fields import Fields
    from nemesyst.feed.joined import AnyColumns
    from nemesyst.feed.joins import AsOf, Joiner
    from nemesyst.feed.raws import Raw, Rows
    from nemesyst.feed.spec import Feed

    Identify = Callable[[Columns], np.ndarray[Any, Any]]
    """Makes an array with one entry for each row, by the rows' ``_id``."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Join:
    """A join, and what makes it in each thread.

    Attributes:
        spec: What is joined.
        joiner: Finds the rows; for one thread at a time, which ``lock`` sees to.
    """

    spec: AsOf
    joiner: Joiner
    lock: threading.Lock


class Source:
    """Tables of the rows that belong to chunks; safe for several threads.

    Args:
        spec: The specification.
        fields: Its fields.
        rows: Where the rows come from.
        joins: What is joined to them.
        layout: Dtype and shape of each array, where they are known; filled by the first rows.
        categories: Codes of texts, where they are known.
    """

    def __init__(
        self,
        spec: Feed,
        fields: Fields,
        rows: Rows,
        *,
        joins: Sequence[Join] = (),
        layout: Layout | None = None,
        categories: Categories | None = None,
    ) -> None:
        self.spec, self.fields, self.rows = spec, fields, rows
        self.settle(layout, categories)
        self._joins = joins
        self.held: Mapping[str, Sequence[int]] = {}  # columns of arrays that a grid does not average; see arranged()
        self._decoders: deque[Decoder] = deque()

    @property
    def layout(self) -> Layout:
        """Dtype and shape of each array."""
        return self.assembler.layout

    def settle(self, layout: Layout | None = None, categories: Categories | None = None) -> None:
        """Fix dtype and shape of each array (None: the first rows do), and the codes of texts."""
        self.categories = categories
        self.assembler = Assembler(self.fields, self.spec.missing, layout, categories)

    def columns(self, raw: Raw) -> AnyColumns:
        """Documents as columns, with those of the joins."""
        return self._joined(Decoder(self.fields.names).decode(raw.rows()))

    @property
    def texts_known(self) -> Mapping[str, Sequence[Any]]:
        """Texts of the fields that have codes, by field."""
        return {} if self.categories is None else self.categories.values

    def texts(self, decoder: Decoder, raw: Raw, fields: Sequence[str]) -> dict[str, Array]:
        """The texts of some documents' train part, by field."""
        columns = self._joined(decoder.decode(raw.rows()))
        rows = np.ones(columns.rows, bool)
        if self.spec.split is not None:
            rows = self._parts(columns) == 0
        found = {}
        for name in fields:
            column = columns.column(name)
            found[name] = column.values[rows if column.missing is None else rows & ~column.missing]
        return found

    def own(self, chunk: int, *, ids: Identify | None = None) -> Table:
        """All rows of a chunk, of every part.

        Args:
            chunk: Its number.
            ids: Makes the array ``#id`` out of the rows' ``_id``; None: there is none.

        Raises:
            FieldError: A field is missing, or its values do not fit.
            DatabaseError: The rows cannot be read.
        """
        # without windows rows of one key come in the order of their _id: it costs nothing, or the key has it anyway
        table = self.table(self.rows.read(chunk, exact=self.spec.window is None), ids=ids)
        if self.spec.window is not None and _alike(table):
            table = self.table(self.rows.read(chunk, exact=True), ids=ids)
        return table

    def table(self, raws: Sequence[Raw], *, ids: Identify | None = None) -> Table:
        """Documents as a table; without arrays when there is no row."""
        decoder = self._decoders.pop() if self._decoders else Decoder(self.fields.names)
        try:
            tables = [table for raw in raws for table in self._decoded(decoder, raw, ids=ids)]
        except FieldError as error:
            raise FieldError(f"feed of {self.spec.collection}: {error.message}", error.remedy) from None
        finally:
            self._decoders.append(decoder)
        return Table.joined(tables) if tables else Table({})

    def _decoded(self, decoder: Decoder, raw: Raw, *, ids: Identify | None) -> list[Table]:
        own = decoder.decode(raw.rows())
        columns = self._joined(own)
        kept = self.assembler.kept(columns)
        if not columns.rows or (kept is not None and not kept.any()):
            return []
        arrays = self.assembler.arrays(columns) | self._keys(columns)
        if ids is not None:
            arrays[ID] = ids(own)
        table = Table(arrays)
        return [table if kept is None or kept.all() else table.take(kept)]

    def _joined(self, columns: Any) -> AnyColumns:
        for join in self._joins:
            with join.lock:
                by, on, missing = _sides(join.spec, columns)
                found = join.joiner.columns(by, on, missing=missing)
            columns = Joined(columns, found)
        made: AnyColumns = columns
        return made

    def _keys(self, columns: AnyColumns) -> dict[str, Array]:
        """The arrays for our own use: part, device, time."""
        made: dict[str, Array] = {}
        window, split = self.spec.window, self.spec.split
        if split is not None:
            made[PART] = self._parts(columns)
        if window is not None:
            made[ON] = _key(columns, window.on, "window")
            if window.by is not None:
                made[BY] = _key(columns, window.by, "window")
            if isinstance(window.anchor, str):
                made[ANCHOR] = _key(columns, window.anchor, "window")
        return made

    def _parts(self, columns: AnyColumns) -> Array:
        split = self.spec.split
        assert split is not None  # noqa: S101 - asked for by whoever has seen it
        keys = None if split.key is None else _shared(columns, split.key)
        times, named = (None if name is None else _key(columns, name, "split") for name in (split.on, split.field))
        return parts(split, keys, named, times, columns.rows)


def digest(table: Table) -> str:
    """A digest of the rows of a chunk: of their arrays' names, dtypes, shapes and bytes."""
    hasher = xxhash.xxh3_128()
    for name in sorted(table.arrays):
        values = table.arrays[name]
        if name in (PART, ID):
            continue
        if values.dtype.kind in "UO":
            hasher.update(f"{name}:{values.shape}:".encode())
            for value in values.reshape(-1).tolist():
                hasher.update(repr(value).encode() + b"\0")
            continue
        hasher.update(f"{name}:{values.dtype.str}:{values.shape}:".encode())
        hasher.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data if values.size else b"")
    return str(hasher.hexdigest())


def _key(columns: AnyColumns, name: str, role: str) -> Array:
    try:
        column = columns.column(name)
    except FieldError as error:
        raise FieldError(f"{role}: {error.message}", error.remedy) from None
    if column.missing is not None:  # whatever missing= says: it is about inputs and targets
        raise FieldError(
            f"{role}: {columns.error_of_missing(name).message}",
            f"Each row needs it: leave others out with {{'$match': {{'{name}': {{'$ne': null}}}}}}, or fill it in "
            "($ifNull); and keep it in the pipeline.",
        )
    return column.values


def _shared(columns: AnyColumns, name: str) -> Array:
    """Values whose hash divides rows; they may be of several types, and an ``_id`` may be null."""
    if name == "_id":
        column = None
        with suppress(FieldError):
            column = columns.column(name)
        if column is None or (column.null is not None and bool((column.null == column.missing).all())):
            return _objects(columns.objects(name))
    return _key(columns, name, "split")


def _sides(spec: AsOf, columns: AnyColumns) -> tuple[Array | None, Array, Array | None]:
    """What a join goes by: device and time of each row, and where one of them is missing."""
    by = None if spec.left_by is None else columns.column(spec.left_by)
    on = columns.column(spec.left_on)
    gaps = [each.missing for each in (by, on) if each is not None and each.missing is not None]
    return None if by is None else by.values, on.values, np.logical_or.reduce(gaps) if gaps else None


def _alike(table: Table) -> bool:
    """Whether two rows have one device and one time."""
    if table.rows < 2:
        return False
    same = table.arrays[ON][1:] == table.arrays[ON][:-1]
    if BY in table.arrays:
        same = same & (table.arrays[BY][1:] == table.arrays[BY][:-1])
    return bool(same.any())


def objects_of(columns: Columns) -> Array:
    """The ``_id`` of each row as Python's objects, shape (rows,)."""
    return _objects(columns.ids())


def _objects(values: list[Any]) -> Array:
    made = np.empty(len(values), object)
    made[:] = values
    return made
