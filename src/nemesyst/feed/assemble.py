"""Columns into batches: fields stacked into inputs and targets, with one dtype and shape over a whole feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import STAMP
from nemesyst.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.decode import Columns
    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]
_NUMBERS = "biuf"


class Assembler:
    """Makes batches of a feed's columns; the first ones decide dtype and shape of each array.

    Args:
        inputs: Fields of ``x``.
        targets: Fields of ``y``; without both, each field is an array of its own.
        missing: What becomes of values that are missing or null; see :class:`nemesyst.Feed`.
    """

    def __init__(self, inputs: Sequence[str], targets: Sequence[str], missing: str | float = "error") -> None:
        self._inputs, self._targets = inputs, targets
        self._drop = missing == "drop"
        # what stands for a missing value, also in rows that are dropped afterwards; None: it is an error
        self._fill = {"error": None, "nan": np.nan, "drop": 0.0}[missing] if isinstance(missing, str) else missing
        self._layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def arrays(self, columns: Columns) -> tuple[Batch, Array | None]:
        """The rows of a decoded batch, and which of its rows they are (None: all); no arrays when no row is left.

        Raises:
            FieldError: A field is missing or null in some document, or its values do not fit together or with
                those before them.
        """
        kept = self._kept(columns) if self._drop else None
        if kept is not None and not kept.any():
            return {}, kept
        made = self._made(columns)
        if kept is not None:
            made = {name: values[kept] for name, values in made.items()}
        return {name: self._steady(name, values) for name, values in made.items()}, kept

    def _kept(self, columns: Columns) -> Array | None:
        fields = [*self._inputs, *self._targets] or [name for name in columns.names if name != STAMP]
        gaps = [gap for gap in map(columns.missing, fields) if gap is not None]
        return ~np.logical_or.reduce(gaps) if gaps else None

    def _made(self, columns: Columns) -> Batch:
        if not self._inputs and not self._targets:
            return {name: self._values(columns, name) for name in columns.names if name != STAMP}
        made = {"x": self._stacked("inputs", columns, self._inputs)} if self._inputs else {}
        if self._targets:
            made["y"] = self._target(columns)
        return made

    def _target(self, columns: Columns) -> Array:
        """A single integer target keeps int64; whether it is one, the first rows decide."""
        whole = self._layout.get("y", (None, None))[0] == np.int64
        if len(self._targets) == 1 and ("y" not in self._layout or whole):
            values = self._values(columns, self._targets[0])
            if values.ndim == 1 and (values.dtype.kind in "iu" or whole):
                return values
        return self._stacked("targets", columns, self._targets)

    def _stacked(self, role: str, columns: Columns, names: Sequence[str]) -> Array:
        try:
            if len(names) == 1 and not columns.holds_lists(names[0]):
                values = self._values(columns, names[0])
                if values.ndim > 1 and values.dtype.kind in _NUMBERS:
                    return values  # packed arrays keep their dtype
            return columns.stack(names, fill=self._fill)
        except FieldError as error:
            raise FieldError(f"{role}: {error.message}", error.remedy) from None

    def _values(self, columns: Columns, name: str) -> Array:
        if self._fill is None or self._drop:
            return present(columns, name) if self._fill is None else columns.column(name).values
        gaps, values = columns.missing(name), columns.column(name).values
        if gaps is not None and values.dtype.kind not in _NUMBERS:
            raise FieldError(
                f"field {name} holds other than numbers, and {self._fill} cannot stand for what is missing",
                'Use missing="drop", or fill it in the pipeline ($ifNull).',
            )
        # whole numbers become floats also where nothing is missing, so that batches are alike
        fits = values.dtype.kind == "f" or float(self._fill).is_integer()
        filled = values if fits or values.dtype.kind not in _NUMBERS else values.astype(np.float64)
        if gaps is not None:
            filled = filled.copy()
            filled[gaps] = self._fill
        return filled

    def _steady(self, name: str, values: Array) -> Array:
        dtype, shape = self._layout.setdefault(name, (values.dtype, values.shape[1:]))
        if (values.dtype, values.shape[1:]) == (dtype, shape) or (values.dtype.kind == dtype.kind == "U"):
            return values
        if values.shape[1:] == shape and np.can_cast(values.dtype, dtype, "safe"):
            return values.astype(dtype)
        raise FieldError(
            f"{name} was {dtype} of shape {_shape(shape)} in the first rows and is now {values.dtype} of shape "
            f"{_shape(values.shape[1:])}",
            "Bring the rows to one type in the pipeline ($toDouble, $toInt), or leave some out with $match.",
        )


def _shape(each: tuple[int, ...]) -> str:
    return f"({', '.join(['rows', *map(str, each)])})"


def present(columns: Columns, name: str) -> Array:
    """The values of a field that every row must have.

    Raises:
        FieldError: It is missing or null in some document.
    """
    column = columns.column(name)
    if column.missing is not None:
        raise columns.error_of_missing(name)
    return column.values
