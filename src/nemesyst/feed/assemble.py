"""Columns into the arrays of a table: fields stacked into inputs and targets, with one layout over a whole feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import STAMP
from nemesyst.errors import FieldError
from nemesyst.feed.classes import classes
from nemesyst.feed.weights import row_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.feed.categories import Categories
    from nemesyst.feed.fields import Fields
    from nemesyst.feed.joined import AnyColumns
    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Dtype and shape of one row, by array."""
_NUMBERS = "biuf"


class Assembler:
    """Makes the arrays of a feed's columns; the first ones decide dtype and shape of each array.

    Args:
        fields: Which fields become which array.
        missing: What becomes of values that are missing or null; see :class:`nemesyst.Feed`.
        layout: Dtype and shape of each array, where they are known.
        categories: Codes of the fields that hold texts; None while they are not known.
    """

    def __init__(
        self,
        fields: Fields,
        missing: str | float = "error",
        layout: Layout | None = None,
        categories: Categories | None = None,
    ) -> None:
        self._fields = fields
        self._drop = missing == "drop"
        # what stands for a missing value, also in rows that are dropped afterwards; None: it is an error
        self._fill = {"error": None, "nan": np.nan, "drop": 0.0}[missing] if isinstance(missing, str) else missing
        self.layout: Layout = layout if layout is not None else {}
        self._categories = categories

    def kept(self, columns: AnyColumns) -> Array | None:
        """Which rows have all values, where others are dropped; None: all."""
        if not self._drop:
            return None
        fields = self._fields.used or self._own(columns)
        gaps = [gap for gap in map(columns.missing, fields) if gap is not None]
        return ~np.logical_or.reduce(gaps) if gaps else None

    def arrays(self, columns: AnyColumns) -> Batch:
        """The arrays of all rows of a decoded batch.

        Raises:
            FieldError: A field is missing or null in some document, or its values do not fit together or with
                those before them.
        """
        try:
            return {name: self._steady(name, values) for name, values in self._made(columns).items()}
        except FieldError as error:
            raise _placed(error, columns) from None

    def _made(self, columns: AnyColumns) -> Batch:
        if not self._fields.groups and not self._fields.targets:
            made = {name: self._values(columns, name, name) for name in self._own(columns)}
        else:
            made = {name: self._stacked(name, columns, fields) for name, fields in self._fields.groups.items()}
            if self._fields.targets:
                made["y"] = self._target(columns)
        if self._fields.weight is not None:
            made["weight"] = row_weights(self._fields.weight, self._weights(columns, self._fields.weight))
        return made

    def _weights(self, columns: AnyColumns, name: str) -> Array:
        # codes of texts are no weights
        return columns.column(name).values if self._codes(name) else self._values(columns, name, "weight")

    def _own(self, columns: AnyColumns) -> list[str]:
        """The fields that are arrays of their own: those of the first rows, whichever of them a later batch has."""
        names = [name for name in columns.names if name != STAMP and not name.startswith("#")]
        if not self.layout:
            return names
        strange = next((name for name in names if name not in self.layout), None)
        if strange is not None:
            gaps = columns.missing(strange)
            row = 0 if gaps is None else int(np.argmin(gaps))
            raise FieldError(
                f"field {strange} is in document {columns.ids()[row]!r}, and in none of the first rows",
                "Name the fields that are wanted (inputs=, or $project in the pipeline), or leave it out with $unset.",
            )
        made = "weight" if self._fields.weight not in (None, "weight") else None
        return [name for name in self.layout if name != made]

    def _target(self, columns: AnyColumns) -> Array:
        """A single target of whole numbers, booleans or texts is int64; whether it is one, the first rows decide."""
        targets = self._fields.targets
        whole = self.layout.get("y", (None, None))[0] == np.int64
        if len(targets) == 1 and ("y" not in self.layout or whole):
            if self._codes(targets[0]):
                return self._coded(columns, targets[0])
            values = classes(columns, targets[0], self._fill, drop=self._drop, settled=whole)
            if values is not None:
                return values
        return self._stacked("y", columns, targets)

    def _stacked(self, array: str, columns: AnyColumns, names: tuple[str, ...]) -> Array:
        role = "targets" if array == "y" else "inputs"
        try:
            if len(names) == 1 and not columns.holds_lists(names[0]):
                values = self._values(columns, names[0], array)
                if values.ndim > 1 and values.dtype.kind in _NUMBERS:
                    return values  # packed arrays keep their dtype
            coded = {name for name in names if self._codes(name)}
            if not coded:
                return columns.stack(names, fill=self._fill)
            return self._beside_codes(columns, names, coded)
        except FieldError as error:
            raise FieldError(f"{role}: {error.message}", error.remedy) from None

    def _beside_codes(self, columns: AnyColumns, names: tuple[str, ...], coded: set[str]) -> Array:
        out = np.empty((columns.rows, len(names)), np.float32)
        for i, name in enumerate(names):
            if name in coded:
                out[:, i] = self._coded(columns, name)
                continue
            values = columns.stack((name,), fill=self._fill)
            if values.shape[1:] != (1,):
                raise FieldError(
                    f"field {name} holds lists of shape {_shape(values.shape[1:])}, which do not fit beside others",
                    "Lists stand alone: give them an input of their own.",
                )
            out[:, i : i + 1] = values
        return out

    def _codes(self, name: str) -> bool:
        return self._categories is not None and name in self._categories.values

    def _coded(self, columns: AnyColumns, name: str) -> Array:
        """The codes of texts; what is missing has that of unseen ones."""
        assert self._categories is not None  # noqa: S101 - asked for by whoever has seen them
        column = columns.column(name)
        if column.missing is None:
            return self._categories.encode(name, column.values)
        if self._fill is None:
            raise columns.error_of_missing(name)
        codes = np.full(columns.rows, len(self._categories.values[name]), np.int64)
        if not column.missing.all():
            codes[~column.missing] = self._categories.encode(name, column.values[~column.missing])
        return codes

    def _values(self, columns: AnyColumns, name: str, array: str) -> Array:
        """The values of a field that alone becomes an array."""
        if self._codes(name):
            return self._coded(columns, name)
        if self._fill is None or self._drop:
            return present(columns, name) if self._fill is None else columns.column(name).values
        gaps, values = columns.missing(name), columns.column(name).values
        if gaps is not None and gaps.all() and array in self.layout:  # what they would be, the first rows have decided
            dtype, shape = self.layout[array]
            values = np.zeros((columns.rows, *shape), dtype)
        if gaps is not None and values.dtype.kind not in _NUMBERS:
            raise FieldError(
                f"field {name} holds other than numbers, and {self._fill} cannot stand for what is missing",
                'Use missing="drop", or fill it in the pipeline ($ifNull).',
            )
        # numbers become floats also where nothing is missing, so that batches are alike
        fits = values.dtype.kind not in _NUMBERS or _holds(values.dtype, self._fill)
        filled = values if fits else values.astype(np.float64)
        if gaps is not None:
            filled = filled.copy()
            filled[gaps] = self._fill
        return filled

    def _steady(self, name: str, values: Array) -> Array:
        dtype, shape = self.layout.setdefault(name, (values.dtype, values.shape[1:]))
        if (values.dtype, values.shape[1:]) == (dtype, shape) or (values.dtype.kind == dtype.kind == "U"):
            return values
        if values.shape[1:] == shape and (np.can_cast(values.dtype, dtype, "safe") or _all_whole(values, dtype)):
            return values.astype(dtype)
        raise FieldError(
            f"{name} was {dtype} of shape {_shape(shape)} in the first rows and is now {values.dtype} of shape "
            f"{_shape(values.shape[1:])}",
            "Bring the rows to one type in the pipeline ($toDouble, $toInt), or leave some out with $match.",
        )


def _placed(error: FieldError, columns: AnyColumns) -> FieldError:
    """The error of all rows of a batch, with where the batch begins; one of a row says which it is."""
    if "document " in error.message or "_id" in error.message:
        return error
    try:
        first = columns.ids()[0]
    except (FieldError, LookupError):  # the pipeline leaves it out
        return error
    return FieldError(f"{error.message} (from document {first!r} on: {columns.rows} rows)", error.remedy)


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an array can hold a number as it is, or at least as a float."""
    if dtype.kind == "f":
        return True
    if dtype.kind == "b" or not float(value).is_integer():
        return dtype.kind == "b" and value in (0, 1)
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _all_whole(values: Array, dtype: np.dtype[Any]) -> bool:
    """Whether numbers with a fraction part of their own type are whole ones, and so fit (3.0 where there was 3)."""
    if values.dtype.kind != "f" or dtype.kind not in "iu":
        return False
    return bool((np.abs(values) < 2.0**53).all() and (values == np.floor(values)).all())


def layout_as_dict(layout: Layout) -> dict[str, Any]:
    """A layout as JSON values."""
    return {name: [dtype.str, list(shape)] for name, (dtype, shape) in layout.items()}


def layout_from_dict(values: Mapping[str, Any]) -> Layout:
    """What :func:`layout_as_dict` gave, as a layout."""
    return {name: (np.dtype(dtype), tuple(shape)) for name, (dtype, shape) in values.items()}


def _shape(each: tuple[int, ...]) -> str:
    return f"({', '.join(['rows', *map(str, each)])})"


def present(columns: AnyColumns, name: str) -> Array:
    """The values of a field that every row must have.

    Raises:
        FieldError: It is missing or null in some document.
    """
    column = columns.column(name)
    if column.missing is not None:
        raise columns.error_of_missing(name)
    return column.values
