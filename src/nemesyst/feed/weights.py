"""Weights of rows: from a field, from how frequent each class is, or given for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError, FieldError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self


Array = np.ndarray[Any, Any]
Class = str | int
ClassWeight = tuple[Class, float]

BALANCED = "balanced"
LIMIT = 100_000
"""Classes that may be weighted."""

_LARGEST = float(np.finfo(np.float32).max)


def check_weight(weight: Any) -> str | tuple[ClassWeight, ...] | None:
    """The ``weight`` of a specification in one canonical form.

    Args:
        weight: Name of a field; ``"balanced"`` (which is never a field's name); a mapping from class to weight, or
            pairs of them, as this function gives; or None.

    Returns:
        The name, ``"balanced"``, None, or (class, weight) sorted by class.

    Raises:
        FeedError: Something else, or a weight that is no number from 0 up.
    """
    if weight is None or (isinstance(weight, str) and weight):
        return weight
    if isinstance(weight, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in weight):
        weight = dict(weight)
    if not isinstance(weight, Mapping) or not weight:
        raise FeedError(
            f"Feed: weight={weight!r} is no weight",
            'Give a field\'s name, "balanced", or a weight for each class: {0: 1.0, 1: 5.0}.',
        )
    if len({isinstance(each, str) for each in weight}) > 1 or not all(isinstance(each, str | int) for each in weight):
        raise FeedError(
            f"Feed: weight={weight!r} mixes kinds of classes", "Name whole numbers or booleans alone, or texts alone."
        )
    pairs = {int(each) if isinstance(each, bool) else each: _weight(each, value) for each, value in weight.items()}
    return tuple(sorted(pairs.items()))


def _weight(each: object, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise FeedError(f"Feed: weight[{each!r}]={value!r}", "Give a finite number, 0 or more.")
    return float(value)


def row_weights(field: str, values: Array) -> Array:
    """The weights that a field gives.

    Args:
        field: Its name, for errors.
        values: Numbers of shape (rows,) or (rows, 1).

    Returns:
        float32, shape (rows,).

    Raises:
        FieldError: They are not numbers, not one for each row, or one is missing, negative or infinite.
    """
    if values.dtype.kind not in "biuf" or values.size != len(values):
        named = {"U": "texts", "M": "dates", "O": "values of several kinds"}.get(values.dtype.kind, values.dtype)
        what = named if values.dtype.kind not in "biuf" else f"arrays of shape {values.shape[1:]}"
        raise FieldError(
            f"weight: field {field} holds {what}, not one number for each row",
            'Name a field of numbers, or weigh the classes of a single target: weight="balanced", or '
            'weight={"cool": 2.0, "idle": 0.5}.',
        )
    weights = values.reshape(-1).astype(np.float64)
    strange = ~((weights >= 0) & (weights <= _LARGEST))
    if strange.any():
        value, count = weights[strange][0], np.count_nonzero(strange)
        raise FieldError(
            f"weight: field {field} is {value:g} ({count} of {len(weights)} rows here are no weight)",
            "A weight is a finite number, 0 or more: mend it in the pipeline, or leave such rows out with $match.",
        )
    return weights.astype(np.float32)


@dataclass(frozen=True)
class ClassWeights:
    """A weight for each class.

    Attributes:
        classes: The classes of the train part as they stand in the batch (codes, where texts are the target), rising.
        weights: Their weights.
    """

    classes: tuple[int, ...]
    weights: tuple[float, ...]

    def of(self, labels: Array) -> Array:
        """The weight of each row; 1 for a class that the train part does not have.

        Args:
            labels: Whole numbers, one for each row: shape (rows,), (rows, 1) and so on.

        Returns:
            float32, shape (rows,).

        Raises:
            FieldError: They are not one whole number for each row.
        """
        labels = _labels(labels)
        known, weights = np.array(self.classes, np.int64), np.array([*self.weights, 1.0], np.float32)
        if not len(known):
            return np.ones(len(labels), np.float32)
        places = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        found: Array = weights[np.where(known[places] == labels, places, len(known))]
        return found

    def as_dict(self) -> dict[str, list[Any]]:
        """The weights as JSON values."""
        return {"classes": list(self.classes), "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[Any]]) -> Self:
        """Make weights from what :meth:`as_dict` gave."""
        return cls(tuple(values["classes"]), tuple(map(float, values["weights"])))


class ClassCounts:
    """Counts the classes of the train part, in any order and portions."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, labels: Array) -> None:
        """Count labels: one whole number for each row.

        Raises:
            FieldError: They are something else, or of more than :data:`LIMIT` classes.
        """
        classes, counts = np.unique(_labels(labels), return_counts=True)
        self.counts.update(dict(zip(classes.tolist(), counts.tolist(), strict=True)))
        if len(self.counts) > LIMIT:
            raise FieldError(
                f"weight: the target has more than {LIMIT:,} different values, too many for classes",
                "Weigh by a field (weight=name), or check targets=.",
            )

    def merge(self, other: Self) -> None:
        """Add another's counts."""
        self.counts.update(other.counts)

    def balanced(self) -> ClassWeights:
        """Weights with which all classes of the train part count alike: rows / (classes * rows of the class)."""
        rows, classes = self.counts.total(), sorted(self.counts)
        return ClassWeights(tuple(classes), tuple(rows / (len(classes) * self.counts[each]) for each in classes))

    def given(self, weights: Sequence[ClassWeight], codes: Mapping[Any, int] | None = None) -> ClassWeights:
        """Weights that the specification gives, and 1 for classes that it does not name.

        Args:
            weights: What :func:`check_weight` gave.
            codes: Codes of the target's values, where it holds texts.

        Raises:
            FeedError: A class is named that the train part does not have.
        """
        found = dict.fromkeys(sorted(self.counts), 1.0)
        for each, weight in weights:
            code = each if codes is None else codes.get(each)
            if code not in found:
                known = [str(value) for value in (codes or found)]
                raise FeedError(
                    f"Feed: weight[{each!r}]: the train part has no such class",
                    f"Mend its name, or leave it out; {nearest(str(each), known)}",
                )
            found[code] = weight
        return ClassWeights(tuple(found), tuple(found.values()))


def _labels(labels: Array) -> Array:
    if labels.dtype.kind in "biu" and labels.size == len(labels):
        return labels.reshape(-1).astype(np.int64, copy=False)
    if labels.dtype.kind in "biu":
        what = f"{labels.size // len(labels)} values for each row"
    else:
        what = f"{labels.dtype} values"
    raise FieldError(
        f"weight: the target has {what}; classes are one whole number, text or boolean for each row",
        "Weigh by a field instead (weight=name), or make a single target of classes.",
    )
