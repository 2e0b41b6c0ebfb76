"""The seam of statistics: something that takes the train part's rows in any order and portions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError, FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from nemesyst.feed.scaling.statistics import Method, Statistics

Array = np.ndarray[Any, Any]

LARGEST = 1e38
"""Largest magnitude that is scaled: float32, in which batches are, ends at 3.4e38, and a range is twice as wide."""


class Collector(ABC):
    """Takes values of the train part, and gives their statistics.

    The statistics depend on the set of values alone, to the bit: not on order, portions, or on what was merged with
    what. For one thread at a time; it can be pickled.

    Args:
        fields: Names, in the order of the values' last axis.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = tuple(fields)
        self.count = 0

    def add(self, values: Array) -> None:
        """Take some values; NaN counts as missing and is left out.

        Args:
            values: Numbers or booleans of shape (rows, fields); for a single field of any shape, of which each
                element counts alike. They are not changed.

        Raises:
            FieldError: A value is infinite or too large, or they are not numbers.
        """
        if values.dtype.kind not in "biuf":
            raise FieldError(
                f"scale: {_named(self.fields)} holds {values.dtype}, not numbers",
                "Turn it into a number in the pipeline, or leave scale= out.",
            )
        width = len(self.fields)
        if width != 1 and values.shape[-1] != width:
            raise ValueError(f"{values.shape} are not values of {width} fields")
        columns = values.reshape(-1, width).T
        self.count += columns.shape[1]
        if columns.size:
            self._add(columns)

    def merge(self, other: Self) -> None:
        """Take all that another one of the same fields has taken."""
        self.count += other.count
        self._merge(other)

    def statistics(self, method: Method) -> Statistics:
        """The statistics of what was taken.

        Raises:
            FeedError: There were no rows.
        """
        if not self.count:
            raise FeedError(
                f"scale: the train part has no rows to take statistics of {_named(self.fields)} from",
                "Check the pipeline and the split, or put rows in first.",
            )
        return self._statistics(method)

    @abstractmethod
    def _add(self, columns: Array) -> None:
        """Take values of shape (fields, rows), at least one."""

    @abstractmethod
    def _merge(self, other: Self) -> None:
        """Take another's state."""

    @abstractmethod
    def _statistics(self, method: Method) -> Statistics:
        """The result; there was at least one row."""

    def check_range(self, low: Array, high: Array) -> None:
        """Refuse what float32 cannot hold.

        Args:
            low: Smallest value of each field; shape (fields,).
            high: Largest value of each field; below ``low`` where there is none.

        Raises:
            FieldError: Names the field.
        """
        strange = np.flatnonzero((high > LARGEST) | (low < -LARGEST))
        if not len(strange):
            return
        field, value = self.fields[strange[0]], high[strange[0]] if high[strange[0]] > LARGEST else low[strange[0]]
        what = "an infinite value" if np.isinf(value) else f"{value:g}, which is beyond {LARGEST:g},"
        raise FieldError(
            f"scale: field {field} holds {what} in the train part",
            f"Leave such rows out ({{'$match': {{'{field}': {{'$gt': -1e38, '$lt': 1e38}}}}}}), or mend them in the "
            "pipeline.",
        )


def _named(fields: tuple[str, ...]) -> str:
    return f"field {fields[0]}" if len(fields) == 1 else f"fields {', '.join(fields[:8])}"


def collector(method: Method, fields: Sequence[str]) -> Collector:
    """What collects the statistics of a method."""
    from nemesyst.feed.scaling.moments import Moments
    from nemesyst.feed.scaling.quantiles import Quantiles

    return Quantiles(fields) if method == "robust" else Moments(fields)
