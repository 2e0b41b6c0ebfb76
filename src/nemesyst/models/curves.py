"""Metrics over time, in buckets, so that a long training takes no more room than a short one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

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
        begin = step - step % self._width
        last = self.points[-1] if self.points else None
        if last is None or begin > last[0]:
            self.points.append([begin, value, value, value, 1])
            if len(self.points) > _BUCKETS:
                self._halve()
        else:
            _merge(last, [begin, value, value, value, 1])

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

    def add(self, values: Mapping[str, float], step: int | None) -> None:
        """Add the values of a step; None: the one after the last."""
        self._step = self._step + 1 if step is None else int(step)
        for name, value in values.items():
            if math.isfinite(value):
                self._curves.setdefault(name, Curve()).add(self._step, float(value))

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
