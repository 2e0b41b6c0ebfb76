"""Scaling batches, and predictions back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.feed.scaling.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]


class Scaler:
    """Scales arrays of a batch by name, ``(value - centre) / spread``, in float32.

    Args:
        statistics: By the name of the array, such as ``"x"``, ``"y"`` or ``"x.seq"``. An array that is not named
            (classes, texts, weights) stays as it is.
    """

    def __init__(self, statistics: Mapping[str, Statistics]) -> None:
        self.statistics = dict(statistics)
        self._float32 = {
            name: (np.array(each.centre, np.float32), np.array(each.spread, np.float32))
            for name, each in self.statistics.items()
        }

    def apply(self, batch: Batch) -> Batch:
        """The batch with its arrays scaled; those are new and float32, the given ones are not changed.

        Raises:
            FeedError: The last axis of an array is not that of the statistics.
        """
        return {
            name: self._scaled(name, values) if name in self.statistics else values for name, values in batch.items()
        }

    def _scaled(self, name: str, values: Array) -> Array:
        self._check(name, values.shape)
        centre, spread = self._float32[name]
        if values.ndim == 3 and centre.size > 1 and values.flags.c_contiguous:  # loops over a few fields are slow
            rows, steps, fields = values.shape
            scaled = np.subtract(values.reshape(rows, steps * fields), np.tile(centre, steps), dtype=np.float32)
            scaled /= np.tile(spread, steps)
            return scaled.reshape(values.shape)
        scaled = np.subtract(values, centre, dtype=np.float32)
        scaled /= spread
        return scaled

    def unscale(self, values: Any, name: str = "y", shape: tuple[int, ...] | None = None, steps: int = 0) -> Any:
        """Predictions or targets in their own units again: ``values * spread + centre``.

        Args:
            values: Array or tensor of any framework whose last axis is the targets; it may lack for a single one.
            name: Name of the array in a batch.
            shape: Shape of one step of the array; None: it is not known, and a single field may have any.
            steps: Steps of a window that the array has; 0: it is no sequence.

        Returns:
            The same kind: a tensor stays one, on its device. float64 stays float64; half precision, in which large
            centres do not fit, becomes float32; lists and whole numbers become float64. Without statistics of that
            name, ``values`` itself.

        Raises:
            FeedError: The last axis does not fit.
        """
        each = self.statistics.get(name)
        if each is None:
            return values
        values = _floats(values)
        self._check(name, tuple(values.shape))
        if len(each.fields) == 1 and shape is not None and not _fits(tuple(values.shape), shape, steps):
            raise _misshapen(name, each.fields[0], tuple(values.shape), (*((steps,) if steps else ()), *shape))
        if len(each.fields) == 1:  # plain numbers take dtype and device of what they meet
            return values * each.spread[0] + each.centre[0]
        if hasattr(values, "new_tensor"):  # a tensor of PyTorch
            return values * values.new_tensor(each.spread) + values.new_tensor(each.centre)
        kind = _numpy_dtype(values)
        return values * np.array(each.spread, kind) + np.array(each.centre, kind)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        fields = self.statistics[name].fields
        if len(fields) != 1 and (not shape or shape[-1] != len(fields)):
            raise FeedError(
                f"scale: {name} has the shape {tuple(shape)}, and its statistics are of {len(fields)} fields: "
                f"{', '.join(fields[:8])}{', ...' if len(fields) > 8 else ''}",
                f"The last axis must be the fields, in this order: (rows, {len(fields)}).",
            )

    def as_dict(self) -> dict[str, Any]:
        """The statistics of each array as JSON values."""
        return {name: each.as_dict() for name, each in self.statistics.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> Self:
        """Make a scaler from what :meth:`as_dict` gave."""
        return cls({name: Statistics.from_dict(each) for name, each in values.items()})


def _fits(given: tuple[int, ...], shape: tuple[int, ...], steps: int) -> bool:
    """Whether values of a single field are shaped like its array; an axis of 1 at the end may be left out."""
    if given[len(given) - len(shape) :] == shape:
        return True
    return shape == (1,) and (len(given) < 2 or (steps > 0 and given[-1] == steps))


def _misshapen(name: str, field: str, given: tuple[int, ...], expected: tuple[int, ...]) -> FeedError:
    shown = [f"(n, {', '.join(map(str, expected))})"]
    if expected[-1] == 1:
        shown.append(f"(n, {', '.join(map(str, expected[:-1]))})" if expected[1:] else "(n,)")
    return FeedError(
        f"unscale: {name} has the shape {given}, expected {' or '.join(shown)} as of field {field}",
        f"Give values like batch[{name!r}]. Several for each, such as quantiles, take an axis of their own: "
        "values[..., None].",
    )


def _floats(values: Any) -> Any:
    """The values with a float type of 32 bits or more."""
    if not hasattr(values, "dtype") or not hasattr(values, "shape"):
        values = np.asarray(values)
    kind = str(values.dtype)
    if "float32" in kind or "float64" in kind:
        return values
    half = "float16" in kind  # bfloat16 too
    if getattr(values.dtype, "kind", "f") not in "biuf":
        raise FeedError(f"unscale: {kind} values are no numbers", "Give targets or predictions.")
    if hasattr(values, "new_tensor"):
        return values.float() if half else values.double()
    return values.astype(np.float32 if half else np.float64) if hasattr(values, "astype") else values


def _numpy_dtype(values: Any) -> Any:
    return np.float64 if "float64" in str(values.dtype) else np.float32
