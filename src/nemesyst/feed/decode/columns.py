"""The columns of a batch: each is made when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FieldError
from nemesyst.feed import columns as reference
from nemesyst.feed.decode.cells import LooseCells, kinds_of
from nemesyst.feed.decode.convert import FILL, converted, fitted
from nemesyst.feed.decode.kinds import ABSENT, ARRAY, DECIMAL, GAPS, NUMBERS, Array
from nemesyst.feed.decode.numbers import numbers, numbers_into
from nemesyst.feed.decode.values import document, values
from nemesyst.feed.decode.wanted import ID, paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.frame import Frame
    from nemesyst.feed.decode.lists import ListLayout
    from nemesyst.feed.decode.wanted import Path


@dataclass(frozen=True)
class Column:
    """One field over the rows of a batch.

    Attributes:
        values: Shape (rows,) or (rows, *shape); where the field is missing NaN, NaT, 0, False, "" or None, by dtype.
        missing: True where the field is absent or null, shape (rows,); None if nowhere.
        null: True where the field is there and null, shape (rows,); None if nowhere.
    """

    values: Array
    missing: Array | None = None
    null: Array | None = None


class Columns:
    """The rows of one batch. Made by :class:`Decoder`; keeps the bytes of the batch until it goes.

    Args:
        frame: The batch.
        found: Where the values of each field are.
        names: The fields, in order; None for every top-level field, in order of first appearance.
        layouts: Layouts of lists, by field; new ones are put in.

    Attributes:
        frame: The batch.
    """

    def __init__(
        self,
        frame: Frame,
        found: Mapping[Path, Cells],
        names: Sequence[str] | None,
        layouts: dict[str, dict[int, ListLayout]],
    ) -> None:
        self.frame = frame
        self._found = found
        self._layouts = layouts
        self._made: dict[str, Column] = {}
        self.names = _in_order(found) if names is None else list(names)

    @property
    def rows(self) -> int:
        """Number of documents."""
        return self.frame.rows

    @property
    def columns(self) -> dict[str, Column]:
        """All columns by name, in order.

        Raises:
            FieldError: The values of a field do not fit together.
            RecordError: A value is damaged.
        """
        return {name: self.column(name) for name in self.names}

    def column(self, name: str) -> Column:
        """One column; raises as :attr:`columns` does."""
        if name not in self._made:
            self._made[name] = self._column(name, np.float64)
        return self._made[name]

    def missing(self, name: str) -> Array | None:
        """True where a field is absent or null, shape (rows,); None if nowhere. The values are not looked at."""
        return self._cells(name).missing()

    def holds_lists(self, name: str) -> bool:
        """Whether every value of a field that is there is a list."""
        return kinds_of(self._cells(name)) - GAPS == {ARRAY}

    def error_of_missing(self, name: str) -> FieldError:
        """The error that says where a field is missing."""
        missing = self._cells(name).missing()
        return self._error_of_missing(name, np.zeros(self.rows, bool) if missing is None else missing)

    def document(self, row: int) -> dict[str, Any]:
        """One document, decoded."""
        return document(self.frame.document(row))

    def objects(self, name: str) -> list[Any]:
        """The values of a field as Python's own, whatever their types; None where there is none."""
        return values(self._cells(name))

    @cached_property
    def _ids(self) -> list[Any]:
        return values(self.id_cells())

    def id_cells(self) -> Cells:
        """Where the ``_id`` of each row is."""
        return self._at(ID)

    def ids(self) -> list[Any]:
        """The ``_id`` of each row, None where there is none."""
        return self._ids

    def stack(self, names: Sequence[str], out_dtype: Any = np.float32, *, fill: float | None = None) -> Array:
        """Fields of plain numbers side by side, or one field of lists of numbers.

        Args:
            names: The fields.
            out_dtype: A float type.
            fill: Stands for missing values; None: they are an error.

        Returns:
            C-contiguous, shape (rows, fields); for one field of lists (rows, *shape).

        Raises:
            FieldError: A value is missing, or a field holds other than numbers.
        """
        if len(names) == 1 and self.holds_lists(names[0]):
            return self._filled(names[0], self._lists(names[0], np.dtype(out_dtype)), fill)
        out = np.empty((self.rows, len(names)), out_dtype)
        for i, name in enumerate(names):
            self._into(name, out[:, i], fill)
        return out

    def _into(self, name: str, out: Array, fill: float | None) -> None:
        cells = self._cells(name)
        missing = cells.missing()
        if missing is not None and fill is None:
            raise self._error_of_missing(name, missing)
        if not kinds_of(cells) <= {*GAPS, *NUMBERS, DECIMAL}:
            self._refuse(name)
        try:
            if cells.one_kind() in NUMBERS and name not in self._made:
                numbers_into(cells, out)
                return
            column = self.column(name)  # kept: what is an input may be a target as well
            with np.errstate(over="raise"):
                out[:] = column.values.astype(np.float64, copy=False)  # as it becomes when other types are about
        except FloatingPointError:
            raise self._error_of_size(name, out.dtype) from None
        if missing is not None:
            with np.errstate(over="ignore"):
                out[missing] = fill

    def _lists(self, name: str, dtype: np.dtype[Any]) -> Column:
        try:
            return self._column(name, dtype)
        except FloatingPointError:
            raise self._error_of_size(name, dtype) from None

    def _filled(self, name: str, column: Column, fill: float | None) -> Array:
        if column.missing is not None:
            if fill is None:
                raise self._error_of_missing(name, column.missing)
            column.values[column.missing] = fill
        return column.values

    def _refuse(self, name: str) -> None:
        found = self.column(name).values  # raises where the kinds differ
        what = reference._kind(found) if found.ndim == 1 else f"arrays {found.dtype} {found.shape[1:]}"  # noqa: SLF001 - one wording
        raise FieldError(
            f"field {name} holds {what}, which cannot be stacked into numbers",
            "Turn it into a number in the pipeline, or leave it out; arrays stand alone, without other fields.",
        )

    def _error_of_size(self, name: str, dtype: np.dtype[Any]) -> FieldError:
        wide = self._column(name, np.float64).values.astype(np.float64, copy=False).reshape(self.rows, -1)
        with np.errstate(over="ignore"):
            row, place = np.argwhere(np.isfinite(wide) & np.isinf(wide.astype(dtype)))[0].tolist()
        return FieldError(
            f"field {name} holds {wide[row, place]:g} in document {self.ids()[row]!r}, which is too large for {dtype} "
            f"(at most {np.finfo(dtype).max:.2g})",
            "Divide it in the pipeline ($divide), or leave such rows out with $match.",
        )

    def _error_of_missing(self, name: str, missing: Array) -> FieldError:
        null = self._cells(name).null()
        gaps = missing.tolist() if null is None else np.where(null, 2, missing).tolist()
        marks = [(0, reference._ABSENT, None)[gap] for gap in gaps]  # noqa: SLF001 - one wording
        document = self.document(int(np.flatnonzero(missing)[0]))
        return reference._missing([document] * self.rows, name, marks)  # noqa: SLF001

    def _column(self, name: str, dtype: Any) -> Column:
        cells = self._cells(name)
        missing, null = cells.missing(), cells.null()
        kinds = kinds_of(cells) - GAPS
        if not kinds:
            return Column(np.full(self.rows, np.nan), missing, null)
        if kinds <= NUMBERS:
            return Column(numbers(cells), missing, null)
        with np.errstate(over="raise"):
            found = converted(cells.present(), dtype, self._layouts.setdefault(name, {}))
            if found is None:
                found = self._by_reference(name, cells.present(), missing, dtype)
        if missing is None:
            return Column(found)
        whole = np.empty((self.rows, *found.shape[1:]), found.dtype)
        whole[~missing] = found
        whole[missing] = FILL.get(found.dtype.kind, 0)
        return Column(whole, missing, null)

    def _by_reference(self, name: str, cells: Cells, missing: Array | None, dtype: Any) -> Array:
        found = values(cells)
        try:
            return fitted(name, found, None, dtype)
        except FieldError:  # once more, now to name the document
            ids = self.ids() if missing is None else [self.ids()[i] for i in np.flatnonzero(~missing)]
            return fitted(name, found, ids, dtype)

    def _cells(self, name: str) -> Cells:
        """The values under the name as one key if every row has it, else of the documents in documents."""
        first, *deeper = (self._at(path) for path in paths(name))
        if not deeper or ABSENT not in kinds_of(first):
            return first
        self._need_no_lists(name, paths(name)[1])
        return deeper[0]

    def _need_no_lists(self, name: str, path: Path) -> None:
        """Raise where a list lies on the way to the values."""
        ways = [path[:end] for end in range(1, len(path))]
        lists = {way: cells for way in ways if ARRAY in kinds_of(cells := self._at(way))}
        rows = {way: int(np.argmax(cells.kinds == ARRAY)) for way, cells in lists.items()}
        if rows:
            way = min(rows, key=rows.__getitem__)
            raise reference.through_list(name, ".".join(way), self.ids()[rows[way]])

    def _at(self, path: Path) -> Cells:
        found = self._found.get(path)
        if found is not None:
            return found
        return LooseCells(self.frame, np.zeros(self.rows, np.uint8), np.zeros(self.rows, np.int64))


def _in_order(found: Mapping[Path, Cells]) -> list[str]:
    """Top-level names by the place where each is seen first."""
    places = {}
    for path, cells in found.items():
        there = cells.kinds != ABSENT if isinstance(cells, LooseCells) else None
        if cells.rows and (there is None or bool(there.any())):
            row = 0 if there is None else int(np.argmax(there))
            places[path[0]] = int(cells.at[row])
    return sorted(places, key=places.__getitem__)
