"""Rows of the other collection, decoded, in one layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.errors import FieldError
from nemesyst.feed.decode import Column, Decoder
from nemesyst.feed.decode.convert import FILL
from nemesyst.feed.joins.keys import Array, gaps, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from nemesyst.feed.decode import Columns
    from nemesyst.feed.joins.spec import AsOf

Layout = tuple[str, tuple[int, ...]]
"""Dtype and shape of each value of a field; ``"<U"`` for texts of any length."""

_OBJECT = 8
"""An object takes so many times the eight bytes that point at it."""


def layout_of(values: Array) -> Layout:
    """The layout in which a field's values are brought over: numbers and booleans alone become float64."""
    if values.ndim == 1 and values.dtype.kind in "biuf":
        return "<f8", ()
    return ("<U" if values.dtype.kind == "U" else values.dtype.str), values.shape[1:]


def fitted(name: str, column: Column, layout: Layout) -> Column:
    """A column in its layout.

    Raises:
        FieldError: Its values do not fit.
    """
    dtype = layout[0]
    values, missing = column.values, column.missing
    if missing is not None and bool(missing.all()):
        return empty(layout, len(values))
    if layout_of(values) != layout:
        raise FieldError(
            f"field {name} was {_shown(layout)} in the first row, and is {_shown(layout_of(values))} in others",
            "Bring it to one type in the join's pipeline ($toDouble, $toString), or leave such rows out with $match.",
        )
    if values.ndim > 1 or dtype in ("<U", "|O"):
        return Column(values, missing)
    whole = values.astype(dtype, copy=False)
    if missing is not None and whole.dtype.kind == "f":
        whole = np.where(missing, np.nan, whole)
    return Column(whole, missing)


def empty(layout: Layout, rows: int) -> Column:
    """A column of nothing but missing values."""
    dtype = np.dtype("<U1" if layout[0] == "<U" else layout[0])
    values = np.full((rows, *layout[1]), FILL.get(dtype.kind, 0), dtype)
    return Column(values, np.ones(rows, np.bool_))


def _shown(layout: Layout) -> str:
    dtype, shape = layout
    kind = kind_of(np.empty(0, "<U1" if dtype == "<U" else dtype))
    return f"arrays {np.dtype(dtype)} {shape}" if shape else kind


@dataclass(frozen=True)
class Rows:
    """Rows of the other collection, in the order of their arrival.

    Attributes:
        by: Device of each row, shape (rows,); numbers of devices once :attr:`by` was coded; None without ``by``.
        on: Time of each row, numbers or dates, shape (rows,).
        fields: The fields to bring over.
    """

    by: Array | None
    on: Array
    fields: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.on)

    @property
    def nbytes(self) -> int:
        """About how many bytes they take."""
        arrays = [self.on, *(column.values for column in self.fields.values()), *([] if self.by is None else [self.by])]
        return sum(array.nbytes * (_OBJECT if array.dtype == object else 1) + len(self) for array in arrays)

    def take(self, rows: Array) -> Self:
        """Some of the rows; the values of a row -1 are missing."""
        return type(self)(
            None if self.by is None else self.by[rows],
            self.on[rows],
            {name: taken(column, rows) for name, column in self.fields.items()},
        )

    @classmethod
    def joined(cls, pieces: Sequence[Self]) -> Self:
        """Pieces one after another; at least one."""
        if len(pieces) == 1:
            return pieces[0]
        devices = [piece.by for piece in pieces if piece.by is not None]
        return cls(
            np.concatenate(devices) if devices else None,
            np.concatenate([piece.on for piece in pieces]),
            {name: _concatenated([piece.fields[name] for piece in pieces]) for name in pieces[0].fields},
        )


def taken(column: Column, rows: Array) -> Column:
    """Some rows of a column."""
    return Column(column.values[rows], None if column.missing is None else column.missing[rows])


def _concatenated(columns: Sequence[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    if all(column.missing is None for column in columns):
        return Column(values)
    marks = [np.zeros(len(c.values), np.bool_) if c.missing is None else c.missing for c in columns]
    return Column(values, np.concatenate(marks))


class RowDecoder:
    """Decodes replies into rows; those without a device or a time are left out.

    Args:
        spec: The join.
        layouts: The layout of each field.
    """

    def __init__(self, spec: AsOf, layouts: Mapping[str, Layout]) -> None:
        self._spec = spec
        self._layouts = layouts
        keys = [spec.right_on, *([spec.right_by] if spec.right_by else [])]
        self._decoder = Decoder([*keys, *spec.renamed])

    def rows(self, batch: memoryview) -> Rows:
        """The rows of a reply.

        Raises:
            FieldError: The values of a field do not fit together, or with those before them.
        """
        columns = self._decoder.decode(batch)
        try:
            return self._rows(columns)
        except FieldError as error:
            raise FieldError(f"AsOf {self._spec.collection}: {error.message}", error.remedy) from None

    def _rows(self, columns: Columns) -> Rows:
        spec = self._spec
        by = None if spec.right_by is None else columns.column(spec.right_by)
        on = columns.column(spec.right_on)
        if kind_of(on.values) not in ("dates", "numbers"):
            raise FieldError(
                f"field {spec.right_on} holds {kind_of(on.values)}, which are no times",
                "Join on a field of dates or numbers; $toDate makes a date of a text.",
            )
        fields = {name: fitted(name, columns.column(name), self._layouts[name]) for name in spec.renamed}
        rows = Rows(None if by is None else by.values, on.values, fields)
        lost = _absent(on) if by is None else _absent(on) | _absent(by)
        return rows.take(np.flatnonzero(~lost)) if bool(lost.any()) else rows


def _absent(column: Column) -> Array:
    lost: Array = gaps(column.values) if column.values.ndim == 1 else np.zeros(len(column.values), np.bool_)
    return lost if column.missing is None else lost | column.missing


def newest(groups: Array, on: Array) -> tuple[Array, bool]:
    """The newest row of each group, of equally new ones the last; and whether there were such.

    Args:
        groups: The group of each row, shape (rows,).
        on: Time of each row, shape (rows,).

    Returns:
        Indices of the rows, by group, and whether a group has two newest rows.
    """
    order = np.lexsort((on, groups))  # stable: later rows stay behind
    if not len(order):
        return order, False
    grouped = groups[order]
    last = np.flatnonzero(np.append(grouped[1:] != grouped[:-1], True))
    before = last[last > 0]
    same = (grouped[before - 1] == grouped[before]) & (on[order[before - 1]] == on[order[before]])
    return order[last], bool(same.any())
