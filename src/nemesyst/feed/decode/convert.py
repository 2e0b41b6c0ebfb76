"""From cells to an array: which way, by the types that are there."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from bson import ObjectId, Regex, Timestamp

from nemesyst.database import is_packed, unpack
from nemesyst.feed import columns as reference
from nemesyst.feed.decode.arrays import packed, vectors
from nemesyst.feed.decode.cells import kinds_of
from nemesyst.feed.decode.kinds import ARRAY, BINARY, DATE, DECIMAL, DOCUMENT, NUMBERS, TEXTS, Array
from nemesyst.feed.decode.lists import lists
from nemesyst.feed.decode.numbers import dates, decimals, numbers
from nemesyst.feed.decode.texts import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.decode.cells import Cells
    from nemesyst.feed.decode.lists import ListLayout

FILL: dict[str, Any] = {"f": np.nan, "c": np.nan, "O": None, "U": "", "S": b""}
"""What stands for a missing value, by the kind of the dtype; 0 for the others."""
FILL |= {"M": np.datetime64("NaT"), "m": np.timedelta64("NaT")}
_OBJECTS = (ObjectId, Timestamp, Regex, UUID)


def converted(  # noqa: PLR0911 - one kind after another
    cells: Cells, dtype: Any, layouts: dict[int, ListLayout]
) -> Array | None:
    """The values as an array, shape (rows, ...); None if they need Python objects, or do not fit together.

    Args:
        cells: At least one, none absent or null.
        dtype: The float type of lists.
        layouts: Known layouts of lists; new ones are put in.

    Raises:
        RecordError: A value is damaged.
    """
    kinds = kinds_of(cells)
    if kinds <= NUMBERS:
        return numbers(cells)
    if kinds == {DATE}:
        return dates(cells)
    if kinds <= TEXTS:
        return texts(cells)
    if kinds <= {*NUMBERS, DECIMAL}:
        return decimals(cells)
    if kinds == {ARRAY}:
        return lists(cells, dtype, layouts)
    if kinds == {DOCUMENT}:
        return packed(cells)
    return vectors(cells) if kinds == {BINARY} else None


def fitted(name: str, values: Sequence[Any], ids: Sequence[Any] | None, dtype: Any) -> Array:
    """The values as an array, by way of Python objects.

    Raises:
        FieldError: They do not fit together; names the documents if there are ``ids``.
        RecordError: A packed array contradicts itself.
    """
    if ids is None and len({type(value) for value in values}) == 1 and type(values[0]) in _OBJECTS:
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects
    rows = [{"_id": each, name: value} for each, value in zip(ids or repeat(None), values, strict=False)]
    if is_packed(values[0]):  # each with its own shape and size checked
        return reference._arrays(rows, name, [unpack(value) for value in values])  # noqa: SLF001 - one wording
    return reference.column(rows, name, lists=dtype)
