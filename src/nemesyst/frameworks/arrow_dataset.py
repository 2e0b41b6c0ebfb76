"""Batches as Arrow record batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import not_installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from nemesyst.frameworks.batches import Array, Batches
    from nemesyst.types import Batch

_UNITS = ("s", "ms", "us", "ns")


def arrow_batches(batches: Batches) -> Iterator[pa.RecordBatch]:
    """One epoch as ``pyarrow.RecordBatch``, with a column for each array.

    Numbers share memory with the arrays (booleans, which Arrow packs into bits, do not). An array of shape (rows, n)
    becomes lists of fixed size n, one of more dimensions a fixed-shape tensor; dates become timestamps in UTC,
    ObjectIds their text.

    Raises:
        FeedError: pyarrow is not installed; an array holds objects that Arrow does not know.
    """
    try:
        import pyarrow  # noqa: F401, ICN001 - found out here, before any work
    except ImportError:
        raise not_installed("to_arrow", "pyarrow", "arrow") from None
    return _read(batches)


def _read(batches: Batches) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    found: dict[str, pa.DataType] = {}  # types of objects, from the first batch that tells
    for batch in batches:
        columns = {name: _column(name, values, found) for name, values in batch.items()}
        yield pa.RecordBatch.from_pydict(columns)


def arrow_columns(batch: Batch) -> dict[str, pa.Array[Any]]:
    """Arrays as columns, as :func:`arrow_batches` has them; pyarrow must be there."""
    return {name: _column(name, values, {}) for name, values in batch.items()}


def _column(name: str, values: Array, found: dict[str, pa.DataType]) -> pa.Array[Any]:
    if values.dtype.kind == "O" and values.ndim == 1:
        return _objects(name, values, found)
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if values.ndim == 1:
        return _flat(values)
    if values.ndim == 2 and values.shape[1]:
        return pa.FixedSizeListArray.from_arrays(_flat(values.reshape(-1)), values.shape[1])
    if values.ndim > 2 and values.size and values.dtype.kind in "iuf":
        return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    raise FeedError(
        f"to_arrow: array {name!r} of shape {values.shape} and dtype {values.dtype} has no type in Arrow",
        "Leave its field out, or use to_numpy().",
    )


def _flat(values: Array) -> pa.Array[Any]:
    """A column of one value a row."""
    import pyarrow as pa

    if values.dtype.kind != "M":
        return pa.array(values)
    unit = np.datetime_data(values.dtype)[0]
    if unit not in _UNITS:
        values, unit = values.astype("datetime64[ms]"), "ms"
    return pa.array(values).view(pa.timestamp(unit, "UTC"))


def _objects(name: str, values: Array, found: dict[str, pa.DataType]) -> pa.Array[Any]:
    import pyarrow as pa

    cells = [str(value) if type(value).__name__ == "ObjectId" else value for value in values]
    try:
        column = pa.array(cells, found.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise FeedError(
            f"to_arrow: array {name!r}: {str(error).splitlines()[0]}", "Leave its field out, or use to_numpy()."
        ) from None
    if column.null_count < len(column):
        found.setdefault(name, column.type)
    return column
