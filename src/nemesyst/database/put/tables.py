"""Arrow tables, pandas and polars frames as dicts, a slice of rows at a time.

The libraries are told by the name of their module, so that none is imported that the caller does not use.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database.documents import is_missing
from nemesyst.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.database.documents import Array

SLICE = 4096
"""Rows that are turned into dicts at a time, so that memory does not grow with the table."""

_ENDINGS = ("Table", "Batch", "Reader", "Dataset", "Scanner", "Frame", "Series")
_US = np.dtype("datetime64[us]")


def is_table(item: Any) -> bool:
    """Whether an item is a table or column of Arrow, pandas or polars."""
    return _library(item) in ("pyarrow", "pandas", "polars") and type(item).__name__.endswith(_ENDINGS)


def _library(item: Any) -> str:
    return type(item).__module__.partition(".")[0]


def table_records(table: Any) -> Iterator[dict[str, Any]]:
    """Yield a table's rows as dicts: null is None, arrays stay arrays, dates are dates.

    Raises:
        RecordError: It is no table of rows, or its column names are not text or not unique.
    """
    library = _library(table)
    if library == "pyarrow" and hasattr(table, "to_batches"):  # a table, a dataset, a scanner
        return (record for batch in table.to_batches() for record in _arrow(batch))
    if library == "pyarrow" and type(table).__name__ == "RecordBatch":
        return _arrow(table)
    if library == "pyarrow" and type(table).__name__ == "RecordBatchReader":
        return (record for batch in table for record in _arrow(batch))
    if library == "pandas" and type(table).__name__ == "DataFrame":
        return _pandas(table)
    if library == "polars" and type(table).__name__ == "DataFrame":
        return _polars(table)
    raise RecordError(
        f"a {library} {type(table).__name__} has no rows with named fields",
        "Give a table or data frame (of a lazy frame: .collect()).",
    )


def _named(names: list[Any], columns: list[list[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _check_names(names: list[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise RecordError(f"column name {name!r} is not text", "Rename it: frame.rename(columns=str).")
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise RecordError(f"the table has more than one column {double[0]!r}", "Rename or drop one of them.")


def _arrow(batch: Any) -> Iterator[dict[str, Any]]:
    names = list(batch.schema.names)
    _check_names(names)
    for start in range(0, batch.num_rows, SLICE):
        part = batch.slice(start, SLICE)
        yield from _named(names, [_arrow_values(column) for column in part.columns])


def _arrow_values(column: Any) -> list[Any]:  # noqa: PLR0911 - one kind of column after another
    import pyarrow as pa

    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        return _arrow_values(column.dictionary_decode())
    if isinstance(column, pa.FixedShapeTensorArray) and not column.null_count:
        return list(column.to_numpy_ndarray())
    if isinstance(column, pa.ExtensionArray):
        return _arrow_values(column.storage)
    if pa.types.is_fixed_size_list(kind):
        return _arrow_arrays(column)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return _nanoseconds(
            column.view(pa.int64()).fill_null(0).to_numpy(), column.is_null().to_numpy(zero_copy_only=False)
        )
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        if not pa.types.is_timestamp(kind):
            raise
        moments = column.view(pa.int64()).to_pylist()  # NumPy's own, which are refused row by row
        return [None if moment is None else np.datetime64(moment, kind.unit) for moment in moments]
    return values


def _arrow_arrays(column: Any) -> list[Any]:
    """Rows of a fixed-size list of numbers as arrays; of anything else as lists."""
    import pyarrow as pa

    shape, inner = [], column.type
    while pa.types.is_fixed_size_list(inner):
        shape.append(inner.list_size)
        inner = inner.value_type
    numeric = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
    if not numeric:
        return list(column.to_pylist())
    values = column
    while pa.types.is_fixed_size_list(values.type):
        if values.null_count:
            return list(column.to_pylist())  # flatten() leaves nulls out, which would shift the rows
        values = values.flatten()
    if values.null_count:
        return list(column.to_pylist())
    return list(values.to_numpy(zero_copy_only=False).reshape(len(column), *shape))


def _nanoseconds(values: Array, null: Array) -> list[Any]:
    """Moments in ns since 1970 as UTC dates; finer ones stay NumPy's, so that a key sees it."""
    moments = values.astype("int64").view("datetime64[ns]")
    exact = (values.astype("int64") % 1000) == 0
    dates = [moment.item() for moment in moments.astype(_US)] if exact.all() else list(moments)
    return [None if gone else moment for moment, gone in zip(dates, null.tolist(), strict=True)]


def _pandas(frame: Any) -> Iterator[dict[str, Any]]:
    named = [name for name in frame.index.names if name is not None]
    names = [*named, *frame.columns]
    _check_names(names)
    for start in range(0, len(frame), SLICE):
        part = frame.iloc[start : start + SLICE]
        levels = [part.index.get_level_values(name) for name in named]
        columns = [part.iloc[:, place] for place in range(part.shape[1])]
        yield from _named(names, [_pandas_values(column) for column in [*levels, *columns]])


def _pandas_values(column: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind in "biuf" and isinstance(column.dtype, np.dtype):
        return values  # NaN stays NaN
    if column.dtype.kind == "O" and isinstance(column.dtype, np.dtype):
        return [None if is_missing(value) else value for value in values]
    if getattr(column.dtype, "name", "") == "category" and column.dtype.categories.dtype.kind == "f":
        return values
    return [None if gone else value for value, gone in zip(values, column.isna().tolist(), strict=True)]


def _polars(frame: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, frame.height, SLICE):
        part = frame.slice(start, SLICE)
        yield from _named(list(part.columns), [_polars_values(part[name]) for name in part.columns])


def _polars_values(series: Any) -> list[Any]:
    kind = type(series.dtype).__name__
    if kind == "Array" and not series.null_count():
        values = series.to_numpy()
        if values.dtype.kind in "biuf" and not series.explode().null_count():
            return list(values)
    if kind == "Datetime" and series.dtype.time_unit == "ns":
        return _nanoseconds(series.to_physical().fill_null(0).to_numpy(), series.is_null().to_numpy())
    items: list[Any] = series.to_list()
    return items
