"""A single target of whole numbers or booleans: classes, which nothing scales and NaN cannot stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FieldError

if TYPE_CHECKING:
    from nemesyst.feed.joined import AnyColumns

Array = np.ndarray[Any, Any]


def classes(columns: AnyColumns, name: str, fill: float | None, *, drop: bool, settled: bool) -> Array | None:
    """The values of a target as classes.

    Args:
        columns: Some rows.
        name: The target.
        fill: Stands for what is missing; None: that is an error.
        drop: Whether rows with something missing are left out afterwards.
        settled: Whether earlier rows have decided that the target is of classes.

    Returns:
        int64, shape (rows,); None if these are no classes, but measured values or arrays.

    Raises:
        FieldError: One is missing that nothing may stand for; or one is no whole number where earlier ones were.
    """
    gaps, values = columns.missing(name), columns.column(name).values
    if gaps is not None and gaps.all():
        if not settled:
            return None
        values = np.zeros(columns.rows, np.int64)
    if values.ndim != 1 or values.dtype.kind not in ("biuf" if settled else "biu"):
        return None
    if gaps is not None:
        values = values.astype(np.int64 if values.dtype.kind != "f" else np.float64)
        values[gaps] = 0 if drop else _stand_in(columns, name, fill)
    if values.dtype.kind == "f":
        _check_whole(columns, name, values)
    return values.astype(np.int64, copy=False)


def _stand_in(columns: AnyColumns, name: str, fill: float | None) -> int:
    error = columns.error_of_missing(name)
    if fill is None:
        remedy = 'Use missing="drop" or a whole number, or leave such rows out in the pipeline ($match).'
        raise FieldError(f"targets: {error.message}", remedy)
    if not float(fill).is_integer() or abs(fill) >= 2.0**63:
        raise FieldError(
            f"targets: {error.message}; it holds classes (whole numbers or booleans), for which {fill:g} cannot stand",
            'Use missing="drop" or a whole number. If it is measured, rather than a class, make it a float in the '
            f"pipeline: {{'$set': {{'{name}': {{'$toDouble': '${name}'}}}}}}.",
        )
    return int(fill)


def _check_whole(columns: AnyColumns, name: str, values: Array) -> None:
    """Whole numbers may be stored as floats (3.0 where there was 3)."""
    with np.errstate(invalid="ignore"):
        odd = ~((np.abs(values) < 2.0**53) & (values == np.floor(values)))
    if not odd.any():
        return
    row = int(np.argmax(odd))
    raise FieldError(
        f"targets: field {name} is {values[row]:g} in document {columns.ids()[row]!r}, and held classes (whole numbers "
        "or booleans) in the first rows",
        "Leave such rows out with $match. If it is measured, rather than a class, make it a float in the pipeline: "
        f"{{'$set': {{'{name}': {{'$toDouble': '${name}'}}}}}}.",
    )
