"""The rows of a chunk as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

Array = np.ndarray[Any, Any]

PART, BY, ON, ID = "#part", "#by", "#on", "#id"
"""Names of arrays for our own use: part of a row (int8, index into ``PARTS``), device and time of a window, ``_id``."""


@dataclass(frozen=True)
class Table:
    """Named arrays over the same rows; names that begin with ``#`` never reach a user.

    Attributes:
        arrays: Each of shape (rows, *shape).
    """

    arrays: Mapping[str, Array]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def take(self, rows: Array | slice) -> Self:
        """Some of the rows."""
        return type(self)({name: values[rows] for name, values in self.arrays.items()})

    @classmethod
    def joined(cls, tables: Sequence[Self]) -> Self:
        """Tables of the same names, one after another."""
        if len(tables) == 1:
            return tables[0]
        return cls({name: np.concatenate([table.arrays[name] for table in tables]) for name in tables[0].arrays})
