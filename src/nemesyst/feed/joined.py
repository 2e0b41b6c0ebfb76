"""The columns of a batch with those of other collections beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nemesyst.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.decode.columns import Column, Columns

Array = np.ndarray[Any, Any]


class AnyColumns(Protocol):
    """What an assembler needs of columns; see :class:`Columns`."""

    names: list[str]

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    def column(self, name: str) -> Column:
        """One column."""
        ...

    def missing(self, name: str) -> Array | None:
        """Where it is missing; None: nowhere."""
        ...

    def holds_lists(self, name: str) -> bool:
        """Whether every value of a field is a list."""
        ...

    def error_of_missing(self, name: str) -> FieldError:
        """The error that says where a field is missing."""
        ...

    def stack(self, names: Sequence[str], out_dtype: Any = np.float32, *, fill: float | None = None) -> Array:
        """Fields side by side."""
        ...

    def ids(self) -> list[Any]:
        """The ``_id`` of each row."""
        ...

    def objects(self, name: str) -> list[Any]:
        """The values of a field as Python's own."""
        ...


class Joined:
    """Columns of a batch and columns that a join found for its rows.

    Args:
        columns: The batch's own.
        found: The join's, of numbers (float64) or others.
    """

    def __init__(self, columns: Columns, found: Mapping[str, Column]) -> None:
        self._columns = columns
        self._found = found
        self.names = [*(name for name in columns.names if name not in found), *found]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._columns.rows

    def column(self, name: str) -> Column:
        """One column, the batch's or the join's."""
        return self._found[name] if name in self._found else self._columns.column(name)

    def missing(self, name: str) -> Array | None:
        """Where it is missing; None: nowhere."""
        return self._found[name].missing if name in self._found else self._columns.missing(name)

    def holds_lists(self, name: str) -> bool:
        """Whether every value of a field is a list."""
        return name not in self._found and self._columns.holds_lists(name)

    def ids(self) -> list[Any]:
        """The ``_id`` of each row."""
        return self._columns.ids()

    def objects(self, name: str) -> list[Any]:
        """The values of a field as Python's own."""
        return list(self._found[name].values) if name in self._found else self._columns.objects(name)

    def error_of_missing(self, name: str) -> FieldError:
        """The error that says where a field is missing."""
        if name not in self._found:
            return self._columns.error_of_missing(name)
        missing = self._found[name].missing
        rows = np.flatnonzero(missing) if missing is not None else np.zeros(1, int)
        return FieldError(
            f"field {name} of the join has no value for {len(rows)} of {self.rows} rows here, first _id: "
            f"{self.ids()[int(rows[0])]!r}",
            'Use missing="nan", missing="drop" or a number, or a larger tolerance.',
        )

    def stack(self, names: Sequence[str], out_dtype: Any = np.float32, *, fill: float | None = None) -> Array:
        """Fields side by side; shape (rows, fields)."""
        if not any(name in self._found for name in names):
            return self._columns.stack(names, out_dtype, fill=fill)
        out = np.empty((self.rows, len(names)), out_dtype)
        for i, name in enumerate(names):
            if name not in self._found:
                out[:, i : i + 1] = self._columns.stack((name,), out_dtype, fill=fill)
                continue
            column = self._found[name]
            if column.values.dtype.kind not in "biuf" or column.values.ndim > 1:
                raise FieldError(
                    f"field {name} of the join holds {column.values.dtype}, which cannot be stacked into numbers",
                    "Turn it into a number in the pipeline of the join, or leave it out.",
                )
            try:
                with np.errstate(over="raise"):
                    out[:, i] = column.values
            except FloatingPointError:
                raise FieldError(
                    f"field {name} of the join holds a number that is too large for {out.dtype} "
                    f"(at most {np.finfo(out.dtype).max:.2g})",
                    "Divide it in the pipeline of the join ($divide), or leave such rows out with $match.",
                ) from None
            if column.missing is not None:
                if fill is None:
                    raise self.error_of_missing(name)
                out[column.missing, i] = fill
        return out
