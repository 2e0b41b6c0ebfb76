"""Metrics over batches, added up: of one process, or of several that have shares of the rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError, NemesystError
from nemesyst.models.matching import matched
from nemesyst.models.metrics import Metric, Truth, metrics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Array = np.ndarray[Any, Any]


class Scores:
    """Adds up what predictions are worth, batch by batch.

    A :class:`Metric` keeps its sums alone. A plain function needs all truth and all predictions at once: those go to a
    temporary file, and it is given them mapped into memory.

    Args:
        metrics: As ``metrics_of`` takes them: by name, or a list, or a single one.
        unscale: What makes targets and predictions ones in their own units; None: they are.

    Raises:
        SettingsError: One of them is no metric, or there are none.
    """

    def __init__(self, metrics: Any, unscale: Callable[[Array], Array] | None = None) -> None:
        self._unscale = unscale
        self.metrics: dict[str, Metric | Callable[..., float]] = metrics_of(metrics)
        self.rows = 0
        self._sums = {name: np.zeros(each.columns) for name, each in self.metrics.items() if isinstance(each, Metric)}
        self._whole: tuple[Any, Any] | None = None
        if len(self._sums) < len(self.metrics):
            from nemesyst.models.evaluation.spill import Column

            self._whole = Column(), Column()

    def add(self, truth: Array, predicted: Array, weight: Array | None = None) -> None:
        """Take a batch.

        Args:
            truth: Shape (rows, ...); what is NaN does not count.
            predicted: Of the same shape (axes of one element count as none), or scores with an axis of classes behind.
            weight: 0 where an element does not count, shape of ``truth``; None: all do.

        Raises:
            SettingsError: Shapes do not fit, or a metric does not fit the target.
        """
        said = matched(truth, predicted)
        if self._unscale is not None:
            truth, said = self._unscale(truth), self._unscale(said)
        known = Truth.of(truth, weight)
        kept: Any = known.counts.any(axis=1)
        self.rows += int(kept.sum())
        for name, sums in self._sums.items():
            metric: Any = self.metrics[name]
            try:
                self._sums[name] = sums + metric.rows(known, said)[kept].sum(axis=0)
            except NemesystError as error:
                raise type(error)(f"{name}: {error.message}", error.remedy) from None
        for column, values in zip(self._whole or (), (truth, said), strict=False):
            column.add(values[kept])

    def state(self) -> dict[str, Any]:
        """What was found so far, small and picklable, for :meth:`values`.

        Raises:
            ModelError: A plain function fails, or gives no number.
        """
        if self._whole is None or not self.rows:
            return {"rows": self.rows, "sums": self._sums, "values": {}}
        truth, said = (_flat(column.array()) for column in self._whole)
        own = {name: each for name, each in self.metrics.items() if name not in self._sums}
        values = {name: _called(name, function, truth, said) for name, function in own.items()}
        return {"rows": self.rows, "sums": self._sums, "values": values}

    def values(self, states: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """The metrics over the rows of all states; NaN where there is nothing to divide by.

        Those of plain functions are the mean of what each process found, weighted by its rows.
        """
        states = [each for each in states if each["rows"]]
        found = {}
        for name, metric in self.metrics.items():
            if isinstance(metric, Metric):
                total = np.sum([each["sums"][name] for each in states], axis=0) if states else np.zeros(metric.columns)
                found[name] = float(metric.total(total))
            else:
                rows = sum(each["rows"] for each in states)
                found[name] = sum(each["values"][name] * each["rows"] for each in states) / rows if rows else math.nan
        return found


def _flat(values: Array) -> Array:
    """Shape (rows,) for one number a row, else (rows, numbers)."""
    flat = values.reshape(len(values), -1)
    return flat[:, 0] if flat.shape[1] == 1 else flat


def _called(name: str, function: Callable[..., Any], truth: Array, said: Array) -> float:
    try:
        return float(function(truth, said))
    except NemesystError:
        raise
    except Exception as error:
        raise ModelError(
            f"the metric {name} fails: {type(error).__name__}: {error}",
            f"It is given y_true {truth.shape} and y_pred {said.shape}, and returns a number.",
        ) from error
