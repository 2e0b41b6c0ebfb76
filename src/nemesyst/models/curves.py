"""Metrics over time, in buckets, so that a long training takes no more room than a short one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUCKETS = 512
"""Points of a curve at most; then two and two become one."""


class Curve:
    """Values of one metric by step: the mean, least and largest of each bucket of steps.

    >>> curve = Curve()
    >>> for step in range(2000):
    ...     curve.add(step, step % 10)
    >>> len(curve.points), curve.points[0]
    (500, [0, 1.5, 0.0, 3.0, 4])
    """

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self._width = 1

    def add(self, step: int, value: float) -> None:
        """Add one value; steps come in order."""
        points = self.points
        begin = step - step % self._width
        if points and begin <= points[-1][0]:
            last = points[-1]  # merged here, not by _merge: a training calls this at every step
            last[4] += 1
            last[1] += (value - last[1]) / last[4]
            if value < last[2]:
                last[2] = value
            elif value > last[3]:
                last[3] = value
            return
        points.append([begin, value, value, value, 1])
        if len(points) > _BUCKETS:
            self._halve()

    def state(self) -> list[Any]:
        """Width of a bucket, and a copy of the buckets."""
        return [self._width, np.array(self.points)]

    @classmethod
    def of(cls, state: list[Any]) -> Curve:
        """What :meth:`state` told."""
        made = cls()
        made._width = int(state[0])
        made.points = [[int(first), *values, int(count)] for first, *values, count in np.asarray(state[1]).tolist()]
        return made

    def _halve(self) -> None:
        self._width *= 2
        points, self.points = self.points, []
        for point in points:
            point[0] -= point[0] % self._width
            if self.points and self.points[-1][0] == point[0]:
                _merge(self.points[-1], point)
            else:
                self.points.append(point)


def _merge(into: list[float], point: list[float]) -> None:
    count = into[4] + point[4]
    into[1] += (point[1] - into[1]) * point[4] / count
    into[2], into[3], into[4] = min(into[2], point[2]), max(into[3], point[3]), count


class Curves:
    """Curves by the name of their metric; values that are no finite number are left out."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}
        self._step = -1

    def add(self, values: Mapping[str, float], step: int | None) -> int:
        """Add the values of a step, which is given back; None: the one after the last."""
        self._step = at = self._step + 1 if step is None else int(step)
        curves = self._curves
        for name, value in values.items():
            if math.isfinite(value):
                curve = curves.get(name)
                if curve is None:
                    curve = curves[name] = Curve()
                curve.add(at, float(value))
        return at

    @property
    def step(self) -> int | None:
        """The step that was logged last; None: nothing was."""
        return None if self._step < 0 else self._step

    @property
    def names(self) -> frozenset[str]:
        """The metrics that there are."""
        return frozenset(self._curves)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as a copy, for :meth:`load_state_dict`."""
        return {"step": self._step, "curves": {name: each.state() for name, each in self._curves.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._step = int(state["step"])
        self._curves = {name: Curve.of(each) for name, each in state["curves"].items()}

    def dumped(self) -> bytes | None:
        """As JSON text; None where there is none.

        Each point is ``[first step, mean, least, largest, count]``.
        """
        if not self._curves:
            return None
        points = {name: curve.points for name, curve in self._curves.items()}
        return json.dumps(points, separators=(",", ":")).encode()


def loaded(data: bytes | memoryview, ref: str) -> dict[str, list[list[float]]]:
    """Curves out of what :meth:`Curves.dumped` gave.

    Raises:
        CorruptBlobError: It is something else.
    """
    try:
        found: Any = json.loads(bytes(data))
        return {
            str(name): [[float(number) for number in point[:5]] for point in points] for name, points in found.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise CorruptBlobError(f"the curves of {ref} are no curves") from None
