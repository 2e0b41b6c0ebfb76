"""What an entry stores: its columns, and the streams (files) that hold them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.cache.coded import OBJECT, TEXT, UnfitError, encode
from nemesyst.feed.cache.folder import DamagedError

if TYPE_CHECKING:
    from nemesyst.feed.table import Array, Table

PLAIN = "plain"


@dataclass(frozen=True)
class StreamSpec:
    """One file of items of one dtype and shape, in C order, from its first byte on.

    Attributes:
        file: Its name.
        dtype: Of an item's elements.
        shape: Of an item.
        rows: Whether an item is a row, so that the stream runs in step with the others that are.
    """

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    rows: bool

    @property
    def item(self) -> int:
        """Bytes of an item."""
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class Column:
    """One array of the tables.

    Attributes:
        name: As in the tables.
        kind: ``"plain"`` (stored as it is), ``"text"`` or ``"object"`` (stored as codes).
        dtype: Of what is stored in each row.
        shape: Of a row.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, values: Array) -> Column:
        """The column that stores an array.

        Raises:
            UnfitError: No file can hold its dtype.
        """
        kind = {"U": TEXT, "O": OBJECT}.get(values.dtype.kind, PLAIN)
        dtype = values.dtype.str if kind == PLAIN else "<i4"
        if kind == PLAIN and not _is_stored(values.dtype):
            raise UnfitError(f"array {name} is of dtype {values.dtype}, which cannot be stored")
        return cls(name, kind, dtype, values.shape[1:])

    def streams(self, number: int) -> list[StreamSpec]:
        """Its files; ``number`` is its place among the columns."""
        rows = StreamSpec(f"{number}.rows", np.dtype(self.dtype), self.shape, rows=True)
        if self.kind == PLAIN:
            return [rows]
        places = StreamSpec(f"{number}.places", np.dtype("<i8"), (2,), rows=False)
        return [rows, places, StreamSpec(f"{number}.heap", np.dtype("u1"), (), rows=False)]


class Schema:
    """The columns of an entry.

    Attributes:
        columns: In the order of the first table's arrays.
        streams: The files of all columns, one column's after another's.
        first: For each column its first stream: that of its rows.
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.streams: list[StreamSpec] = []
        self.first: list[int] = []
        for number, column in enumerate(self.columns):
            self.first.append(len(self.streams))
            self.streams += column.streams(number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and set(self.columns) == set(other.columns)

    __hash__ = None  # type: ignore[assignment]  # compared, never a key

    @classmethod
    def of(cls, table: Table) -> Schema:
        """The schema that stores a table.

        Raises:
            UnfitError: An array's dtype cannot be stored.
        """
        return cls([Column.of(name, values) for name, values in table.arrays.items()])

    def __str__(self) -> str:
        return ", ".join(f"{column.name} {column.kind} {column.dtype} {column.shape}" for column in self.columns)

    def as_json(self) -> list[dict[str, Any]]:
        """The columns as JSON values."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, columns: Any) -> Schema:
        """The schema that was written.

        Raises:
            DamagedError: It is none.
        """
        try:
            found = [_column(**column) for column in columns]
        except (TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"its columns are not to be understood: {error}") from None
        if len({column.name for column in found}) < len(found):
            raise DamagedError("it names a column twice")
        return cls(found)

    def encode(self, table: Table) -> list[Array]:
        """What the streams hold of a table: C-contiguous arrays, the table's own where that is possible.

        Raises:
            UnfitError: An object cannot be stored.
        """
        parts: list[Array] = []
        for column in self.columns:
            values = table.arrays[column.name]
            stored = [values] if column.kind == PLAIN else encode(values, column.kind)
            parts += [np.ascontiguousarray(part).reshape(part.shape) for part in stored]
        return parts

    def widths(self, table: Table) -> list[int]:
        """For each column the characters of its text array; 0 for others."""
        return [table.arrays[column.name].dtype.itemsize // 4 if column.kind == TEXT else 0 for column in self.columns]


def _column(name: str, kind: str, dtype: str, shape: list[int]) -> Column:
    if not isinstance(name, str) or kind not in (PLAIN, TEXT, OBJECT) or not isinstance(dtype, str):
        raise ValueError(f"{name!r} of kind {kind!r}")
    if not _is_stored(np.dtype(dtype)) or any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"{name!r} of dtype {dtype!r} and shape {shape!r}")
    return Column(name, kind, dtype, tuple(shape))


def _is_stored(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufcmMS" and dtype.itemsize > 0 and np.dtype(dtype.str) == dtype
