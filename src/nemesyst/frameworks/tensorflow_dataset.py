"""Batches as a ``tf.data.Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import is_text, not_installed, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.frameworks.batches import Array, Batches

_AHEAD = 2
"""Batches that TensorFlow reads ahead."""


def tensorflow_dataset(batches: Batches) -> Any:
    """A ``tf.data.Dataset`` of whole batches: dicts of tensors; each iteration is the next epoch.

    Dtypes and shapes are the arrays' own, with the number of rows unknown. Dates become int64 milliseconds since 1970
    (UTC), strings ``tf.string``. TensorFlow reads up to 2 batches ahead.

    Raises:
        FeedError: TensorFlow is not installed; an array holds objects that are no strings.
    """
    tf = imported()
    signature = {name: spec(name, dtype, shape) for name, (dtype, shape) in batches.layout.items()}

    def epoch() -> Iterator[dict[str, Array]]:
        return ({name: plain(name, batch[name]) for name in signature} for batch in batches)

    return tf.data.Dataset.from_generator(epoch, output_signature=signature).prefetch(_AHEAD)


def imported() -> Any:
    """TensorFlow.

    Raises:
        FeedError: It is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError:
        raise not_installed("to_tensorflow", "TensorFlow", "tensorflow") from None
    return tf


def spec(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """The ``tf.TensorSpec`` of an array."""
    tf = imported()
    if dtype.kind in "UO":
        return tf.TensorSpec((None, *shape), tf.string, name=None)
    sample = numbers(np.empty((0, *shape), dtype))
    try:
        return tf.TensorSpec((None, *shape), tf.as_dtype(sample.dtype))
    except TypeError:
        raise FeedError(
            f"to_tensorflow: array {name!r} has dtype {dtype}, which TensorFlow has not", "Leave its field out."
        ) from None


def plain(name: str, values: Array) -> Array:
    """An array as TensorFlow takes it."""
    return _encoded(name, values) if is_text(values) else numbers(values)


def _encoded(name: str, values: Array) -> Array:
    encoded = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        if not isinstance(value, str | bytes):
            raise FeedError(
                f"to_tensorflow: array {name!r} holds a {type(value).__name__}, and TensorFlow has numbers, dates and "
                "strings alone",
                "Name the fields that you need with inputs= and targets=, or leave this one out in the pipeline.",
            )
        encoded[place] = value.encode() if isinstance(value, str) else value
    return encoded
