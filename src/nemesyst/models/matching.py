"""Predictions beside the truth: shapes that fit, and what a class is."""

from __future__ import annotations

from typing import Any

import numpy as np

from nemesyst.errors import SettingsError

Array = np.ndarray[Any, Any]


def matched(truth: Array, predicted: Array) -> Array:
    """Predictions in the shape of the truth; scores of classes keep their axis behind it.

    Axes of one element count as none: (rows,) and (rows, 1) are the same.

    Args:
        truth: Shape (rows, ...).
        predicted: Of the same shape, or (rows, ..., classes).

    Raises:
        SettingsError: The shapes do not fit.
    """
    if predicted.dtype.kind not in "biuf":
        raise SettingsError(f"predictions are {predicted.dtype}, not numbers", "Give an array of numbers.")
    if _slim(predicted.shape) == _slim(truth.shape):
        return predicted.reshape(truth.shape)
    if truth.dtype.kind in "biu" and predicted.ndim > 1:
        scores = predicted.shape[-1]
        if scores > 1 and _slim(predicted.shape[:-1]) == _slim(truth.shape):
            return predicted.reshape(*truth.shape, scores)
    expected = f"{truth.shape}" + (" or with an axis of classes behind it" if truth.dtype.kind in "biu" else "")
    raise SettingsError(
        f"predictions have the shape {predicted.shape}, and the truth {truth.shape}",
        f"Give one prediction for each row and element: {expected}.",
    )


def _slim(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:1], *(size for size in shape[1:] if size != 1))


def classes_of(truth: Array, name: str) -> Array:
    """The truth as int64 classes.

    Raises:
        SettingsError: It holds numbers that are no classes.
    """
    if truth.dtype.kind in "biu":
        return truth.astype(np.int64)
    whole = np.rint(truth)
    if not (whole == truth).all():
        raise SettingsError(
            f"{name}: the target holds numbers such as {float(truth[whole != truth][0]):g}, not classes",
            "Take a metric of numbers, such as nm.mae.",
        )
    return whole.astype(np.int64)


def scores_of(predicted: Array) -> tuple[Array, Array]:
    """The class that is said for each element, int64, and where a NaN says nothing, bool.

    Args:
        predicted: Classes, or probabilities of class 1, shape (rows, elements); or scores (rows, elements, classes).

    Raises:
        SettingsError: Single numbers that are neither classes nor probabilities.
    """
    values: Any = predicted
    bad: Any = np.isnan(values) if predicted.dtype.kind == "f" else np.zeros(predicted.shape, bool)
    if predicted.ndim > 2:
        return values.argmax(axis=-1), bad.any(axis=-1)
    if predicted.dtype.kind != "f":
        return values.astype(np.int64), bad
    bad = bad | np.isinf(values)
    values = np.where(bad, 0, values)
    whole = values == np.rint(values)
    odd = ~whole & ((values < 0) | (values > 1))
    if odd.any():
        raise SettingsError(
            f"one prediction for each row is {float(values[odd][0]):g}, neither a class nor a probability",
            "Give a score for each class, or the probability of class 1 (a sigmoid behind the last layer).",
        )
    return np.where(whole, values, values >= 0.5).astype(np.int64), bad
