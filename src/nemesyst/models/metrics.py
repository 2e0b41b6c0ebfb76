"""Metrics: what is added up for each row, and how the sums become one number.

A metric works on sums, so that rows may come in any number of batches, in any order, and be divided into blocks for
intervals, with nothing kept but the sums.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from nemesyst.errors import SettingsError, nearest
from nemesyst.models.matching import classes_of, matched, scores_of

Array = np.ndarray[Any, Any]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Truth:
    """The truth of some rows, made ready once for all that is compared with it.

    Attributes:
        shape: Its shape.
        values: As (rows, elements), 0 where it is not known.
        counts: 1 where an element counts and 0 where not, float64 of the same shape.
    """

    shape: tuple[int, ...]
    values: Array
    counts: Array

    @classmethod
    def of(cls, truth: Array, weight: Array | None = None) -> Truth:
        """Out of an array, shape (rows, ...); what is NaN does not count, nor where ``weight`` is 0."""
        values = truth.reshape(len(truth), math.prod(truth.shape[1:]))
        counts = np.ones(values.shape) if weight is None else (weight.reshape(values.shape) > 0).astype(np.float64)
        if values.dtype.kind == "f":
            known = np.isfinite(values)
            if not known.all():
                values, counts = np.where(known, values, 0), counts * known
        return cls(truth.shape, values, counts)

    @cached_property
    def numbers(self) -> Array:
        """The values as float64."""
        return self.values.astype(np.float64)


@dataclass(frozen=True)
class Metric:
    """A number that says how near predictions are to the truth; in the target's own units.

    Called with arrays, it is that number: ``nm.mae(y_true, y_pred)``, shapes (rows, ...).

    Attributes:
        name: What it is called in tables and records, such as ``"mae"`` or ``"pinball(0.9)"``.
        better: Whether ``"lower"`` or ``"higher"`` is better.
        columns: How many sums it needs.
        parts: From truth, predictions and weights, each float64 of shape (rows, elements), what each row adds to each
            sum: shape (rows, columns). For classes the truth is int64 and predictions may have a third axis of scores.
        total: From sums, shape (..., columns), the number; shape (...). NaN where there is nothing to divide by.
        classes: Whether truth is classes, not numbers.
    """

    name: str
    better: Better
    columns: int
    parts: Callable[[Array, Array, Array], Array] = field(repr=False)
    total: Callable[[Array], Array] = field(repr=False)
    classes: bool = False

    def __call__(self, y_true: Any, y_pred: Any) -> float:
        """The metric of arrays whose first axis is the row.

        Raises:
            SettingsError: Their shapes do not fit, or they hold no numbers or no classes.
        """
        truth = np.asarray(y_true)
        return float(self.total(self.rows(truth, matched(truth, np.asarray(y_pred))).sum(axis=0)))

    def rows(self, truth: Array | Truth, predicted: Array) -> Array:
        """What each row adds to the sums.

        Args:
            truth: Shape (rows, ...); what is NaN does not count.
            predicted: Of the same shape, or for classes with one more axis of scores (see ``matched``).

        Returns:
            float64, shape (rows, columns); NaN where a prediction is.
        """
        known = truth if isinstance(truth, Truth) else Truth.of(truth)
        extra = predicted.shape[len(known.shape) :]
        given = predicted.reshape(*known.values.shape, *extra)
        if self.classes:
            return self.parts(classes_of(known.values, self.name), given, known.counts)
        if extra or given.dtype.kind not in "fiub":
            raise SettingsError(
                f"{self.name}: predictions have the shape {predicted.shape}, and the truth {known.shape}",
                "It compares numbers; for scores of classes take nm.accuracy or nm.log_loss.",
            )
        return self.parts(known.numbers, given.astype(np.float64, copy=False), known.counts)


def _of(losses: Array, counts: Array) -> Array:
    """Columns of a mean: the losses of the elements that count, and how many do."""
    made = np.empty((len(losses), 2))
    made[:, 0] = _sum(losses, counts)
    made[:, 1] = _added(counts)
    return made


def _sum(losses: Array, counts: Array) -> Array:
    if not counts.all():
        losses = np.where(counts > 0, losses * counts, 0.0)
    return _added(losses)


def _added(values: Array) -> Array:
    made: Array = values[:, 0] if values.shape[1] == 1 else values.sum(axis=1)
    return made


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Array = np.where(below > 0, above / below, np.nan)
    return made


def _mean(sums: Array) -> Array:
    return _ratio(sums[..., 0], sums[..., 1])


def _absolute(y: Array, p: Array, n: Array) -> Array:
    return _of(np.abs(p - y), n)


def _squared(y: Array, p: Array, n: Array) -> Array:
    return _of(np.square(p - y), n)


def _relative(y: Array, p: Array, n: Array) -> Array:
    n = n * (y != 0)
    return _of(np.abs(p - y) / np.where(y == 0, 1.0, np.abs(y)), n)


def _variance(y: Array, p: Array, n: Array) -> Array:
    return np.stack([_sum(np.square(p - y), n), _sum(y, n), _sum(np.square(y), n), n.sum(axis=1)], axis=1)


def _explained(sums: Array) -> Array:
    error, first, second, count = np.moveaxis(sums, -1, 0)
    return 1 - _ratio(error, second - _ratio(np.square(first), count))


mae = Metric("mae", "lower", 2, _absolute, _mean)
"""Mean absolute error."""
mse = Metric("mse", "lower", 2, _squared, _mean)
"""Mean squared error."""
rmse = Metric("rmse", "lower", 2, _squared, lambda sums: np.sqrt(_mean(sums)))
"""Square root of the mean squared error."""
mape = Metric("mape", "lower", 2, _relative, _mean)
"""Mean absolute error as a share of the truth (0.1 is 10 %); where the truth is 0 it is left out."""
r2 = Metric("r2", "higher", 4, _variance, _explained)
"""Share of the truth's variance that is explained, over all elements together."""


def pinball(q: float) -> Metric:
    """The pinball loss of a quantile, which is least for predictions that the truth is below with probability ``q``.

    Raises:
        SettingsError: ``q`` is not between 0 and 1.
    """
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 < q < 1:
        raise SettingsError(f"nm.pinball({q!r}): not a quantile", "Give a number between 0 and 1, such as 0.9.")

    def parts(y: Array, p: Array, n: Array) -> Array:
        return _of(np.maximum(q * (y - p), (q - 1) * (y - p)), n)

    return Metric(f"pinball({q:g})", "lower", 2, parts, _mean)


def _correct(y: Array, p: Array, n: Array) -> Array:
    labels, bad = scores_of(p)
    return _of(np.where(bad, np.nan, labels == y), n)


def _log(y: Array, p: Array, n: Array) -> Array:
    if p.ndim == y.ndim:
        raise SettingsError(
            "log_loss: there is one number for each row, expected a score for each class",
            "Let the model give logits or probabilities of shape (rows, classes).",
        )
    shares = p.astype(np.float64)
    sure = (shares >= 0).all(axis=-1) & (np.abs(shares.sum(axis=-1) - 1) < 1e-3)
    logits = shares - shares.max(axis=-1, keepdims=True)
    soft = np.exp(logits)
    shares = np.where(sure[..., None], shares, soft / soft.sum(axis=-1, keepdims=True))
    known = (y >= 0) & (y < p.shape[-1])
    chosen = np.take_along_axis(shares, np.where(known, y, 0)[..., None], axis=-1)[..., 0]
    # a NaN stays one; a class that the model does not know had no share at all
    return _of(-np.log(np.where(known, np.maximum(chosen, 1e-15), 1e-15) + (chosen * 0)), n)


accuracy = Metric("accuracy", "higher", 2, _correct, _mean, classes=True)
"""Share of the rows whose class is the one with the highest score."""
log_loss = Metric("log_loss", "lower", 2, _log, _mean, classes=True)
"""Mean negative logarithm of the true class's probability; scores are probabilities, or else logits."""


def _found(y: Array, p: Array, n: Array, positives: Sequence[int]) -> Array:
    labels, bad = scores_of(p)
    columns = []
    for each in positives:
        true, said = y == each, np.where(bad, np.nan, labels == each)
        columns += [_sum(said * true, n), _sum(said * ~true, n), _sum((1 - said) * true, n)]
    return np.stack(columns, axis=1)


def _harmonic(sums: Array) -> Array:
    each = sums.reshape(*sums.shape[:-1], -1, 3)
    scores = _ratio(2 * each[..., 0], 2 * each[..., 0] + each[..., 1] + each[..., 2])
    there = ~np.isnan(scores) | np.isnan(each).any(axis=-1)
    return _ratio(np.where(there, scores, 0).sum(axis=-1), there.sum(axis=-1).astype(float))


f1 = Metric("f1", "higher", 3, lambda y, p, n: _found(y, p, n, (1,)), _harmonic, classes=True)
"""Harmonic mean of precision and recall of class 1."""


def macro_f1(classes: int) -> Metric:
    """The mean of each class's F1, over classes 0 to ``classes - 1``; those that nobody has or says are left out.

    Raises:
        SettingsError: ``classes`` is no number of classes.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= 1000:
        raise SettingsError(f"nm.macro_f1({classes!r}): not a number of classes", "Give 2 to 1000.")
    each = range(classes)
    return Metric(
        f"macro_f1({classes})", "higher", 3 * classes, lambda y, p, n: _found(y, p, n, each), _harmonic, classes=True
    )


BUILT_IN = {metric.name: metric for metric in (mae, mse, rmse, mape, r2, accuracy, f1, log_loss)}
"""Metrics by name; ``pinball(q)`` and ``macro_f1(classes)`` take a number."""


def metric_named(name: str) -> Metric:
    """The built-in metric that a name such as ``"mae"`` or ``"pinball(0.9)"`` stands for.

    Raises:
        SettingsError: There is none.
    """
    made = re.fullmatch(r"(pinball|macro_f1)\(([0-9.e-]{1,12})\)", name)
    if made is not None:
        try:
            return pinball(float(made[2])) if made[1] == "pinball" else macro_f1(int(made[2]))
        except ValueError:
            raise SettingsError(f"metric {name!r}: {made[2]} is no such number", "Such as pinball(0.9).") from None
    if name not in BUILT_IN:
        known = [*BUILT_IN, "pinball(0.9)", "macro_f1(10)"]
        raise SettingsError(f"there is no metric {name!r}; {nearest(name, known)}", "Or pass a function of your own.")
    return BUILT_IN[name]


def is_built_in(metric: Metric) -> bool:
    """Whether a metric is the built-in one of its name, and not somebody's own."""
    try:
        return metric_named(metric.name).parts.__code__ is metric.parts.__code__
    except (SettingsError, AttributeError):
        return False


def metrics_of(given: Any) -> dict[str, Metric | Callable[..., float]]:
    """Metrics by the name that the caller gives them: out of a mapping, a list, or a single one.

    Args:
        given: Metrics, names of built-in ones, or plain functions ``(y_true, y_pred) -> float``.

    Raises:
        SettingsError: One of them is something else, or there are none.
    """
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        pairs = [(each if isinstance(each, str) else getattr(each, "name", _name(each)), each) for each in several]
    if not pairs:
        raise SettingsError("metrics: there are none", 'Give metrics={"mae": nm.mae}.')
    if len({name for name, _ in pairs}) < len(pairs):
        raise SettingsError("metrics: two have one name", 'Name them: metrics={"near": f, "far": g}.')
    return {
        _checked(name): metric_named(each) if isinstance(each, str) else _callable(name, each) for name, each in pairs
    }


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > 100:
        raise SettingsError(f"metrics: {name!r} is not a name", 'Such as metrics={"mae": nm.mae}.')
    return name


def _callable(name: str, given: Any) -> Any:
    if not callable(given):
        raise SettingsError(f"metrics[{name!r}] is {given!r:.80}", "Give nm.mae, or a function of y_true and y_pred.")
    return given
