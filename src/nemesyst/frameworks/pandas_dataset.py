"""All rows as a pandas ``DataFrame``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import not_installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from nemesyst.frameworks.batches import Array, Batches


def pandas_frame(batches: Batches, names: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """One epoch, all of its rows at once; memory grows with the rows.

    Args:
        batches: What to read.
        names: The fields of an array's columns, such as ``{"x": ["air", "power"], "y": ["air"]}``: an array of shape
            (rows, n) with n fields becomes n columns named by them, one of shape (rows,) a column named by its field.
            A field that has a column already gets its array's name before it: ``y.air``. Arrays without fields keep
            their name: columns ``x_0``, ``x_1``, ... for one of shape (rows, n).

    Dates become timestamps in UTC. A window is a row: an array of shape (windows, steps, n) with n fields becomes n
    columns, whose cells are NumPy arrays of shape (steps,). Any other array of more dimensions is a column of arrays.

    Raises:
        FeedError: pandas is not installed; ``names`` has another number of fields than an array has columns.
    """
    try:
        import pandas as pd
    except ImportError:
        raise not_installed("to_pandas", "pandas", "pandas") from None
    pieces: dict[str, list[Array]] = {}
    for batch in batches:
        for name, values in batch.items():
            pieces.setdefault(name, []).append(values)  # a map may give others than the layout
    if not pieces:
        pieces = {name: [np.empty((0, *shape), dtype)] for name, (dtype, shape) in batches.layout.items()}
    columns: dict[str, Any] = {}
    for name in list(pieces):
        values = np.concatenate(pieces.pop(name))  # one array after the other is doubled, not all of them at once
        for label, column in _columns(name, values, (names or {}).get(name, ())):
            columns[f"{name}.{label}" if label in columns else label] = _cells(column)
    return pd.DataFrame(columns)


def _columns(name: str, values: Array, fields: Sequence[str]) -> Iterator[tuple[str, Array]]:
    flat = values.ndim == 2
    if values.ndim > 2 and values.shape[-1] == len(fields):  # sequences
        for place, field in enumerate(fields):
            yield field, values[..., place]
        return
    width = values.shape[1] if flat else 1
    if fields and len(fields) != width:
        if len(fields) > 1 or not flat:
            raise FeedError(
                f"to_pandas: array {name!r} has {width} columns and {len(fields)} names: {', '.join(fields)}",
                "Give one name for each column.",
            )
        fields = [f"{fields[0]}_{place}" for place in range(width)]  # one field whose values are lists
    if flat:
        for place in range(width):
            yield (fields[place] if fields else f"{name}_{place}"), values[:, place]
    else:
        yield (fields[0] if fields else name), values


def _cells(values: Array) -> Any:
    """A column's values as pandas takes them."""
    import pandas as pd

    if values.ndim > 1:
        cells = np.empty(len(values), object)
        cells[:] = list(values)
        return cells
    if values.dtype.kind == "M":
        return pd.DatetimeIndex(values).tz_localize("UTC")
    return values.astype(object) if values.dtype.kind == "U" else values
