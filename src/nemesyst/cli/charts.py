"""Curves in the terminal, drawn with the dots of Braille letters, and what a curve of millions of points becomes."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.run import Series

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

_EMPTY = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The dot of a Braille letter, by row and column."""
_COLOURS = (36, 33, 35, 32, 34, 31)
"""Codes of the terminal's colours, one for each curve of a chart."""


class Thin(NamedTuple):
    """A curve of few points: each stands for those of a stretch of steps.

    Attributes:
        steps: The first step of each, the last of the last.
        mean: The mean of their values.
        low: The least.
        high: The largest.
    """

    steps: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers


def thinned(series: Series, most: int) -> Thin:
    """A curve of at most so many points; values that are no finite number are left out.

    >>> from nemesyst.run import Series
    >>> whole = Series(np.arange(6), np.zeros(6), np.array([1.0, 3.0, float("nan"), 5.0, 2.0, 4.0]))
    >>> thinned(whole, 3).mean.tolist()
    [2.0, 5.0, 3.0]
    """
    finite = np.isfinite(series.values)
    order = np.argsort(series.steps[finite], kind="stable")
    steps = series.steps[finite][order].astype(np.float64)
    values = series.values[finite][order]
    if not len(steps):
        return Thin(steps, values, values, values)
    place = ((steps - steps[0]) / (steps[-1] - steps[0] + 1) * most).astype(np.int64)
    begins = np.flatnonzero(np.diff(place, prepend=-1))
    counts = np.diff(np.append(begins, len(steps)))
    mean = np.add.reduceat(values / np.repeat(counts, counts), begins)
    shown = steps[begins]
    if len(shown) > 1:
        shown[-1] = steps[-1]  # so that the curve reaches to its end
    return Thin(shown, mean, np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins))


_PARTS = ("train", "val", "validation", "test")


def together(curves: Mapping[str, Series]) -> dict[str, list[str]]:
    """Metrics that belong into one chart: those of one quantity, which stands before the ``/`` or behind a part.

    >>> together({"loss/train": None, "lr": None, "loss/validation": None, "val/mae": None, "val/r2": None})
    {'loss': ['loss/train', 'loss/validation'], 'lr': ['lr'], 'mae': ['val/mae'], 'r2': ['val/r2']}
    """
    found: dict[str, list[str]] = {}
    for name in curves:
        first, _, rest = name.partition("/")
        found.setdefault(rest if first in _PARTS and rest else first, []).append(name)
    return found


def charts(curves: Mapping[str, Series], width: int = 72, height: int = 8, *, colours: bool = False) -> str:
    """Charts of all metrics, one below the other.

    Args:
        curves: Metrics with their points.
        width: Letters across, the numbers at the side included.
        height: Lines of each chart.
        colours: Whether curves that belong together share a chart, told apart by colour; else each has its own, on
            the same scale.
    """
    drawn = []
    for names in together(curves).values():
        thin = {_headline(name, curves[name]): thinned(curves[name], width * 2) for name in names}
        some = {head: curve for head, curve in thin.items() if len(curve.steps)}
        drawn += [head for head in thin if head not in some]  # no number that could be drawn
        if some:
            frame = _Frame.of(list(some.values()))
            groups = [some] if colours else [{head: curve} for head, curve in some.items()]
            drawn += [_chart(group, frame, width, height, colours=colours) for group in groups]
    return "\n\n".join(drawn)


def _headline(name: str, series: Series) -> str:
    """A metric with its newest value."""
    return f"{name} {series.values[-1]:.4g}" if len(series.values) else name


class _Frame(NamedTuple):
    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(cls, curves: Sequence[Thin]) -> _Frame:
        steps = np.concatenate([thin.steps for thin in curves])
        values = np.concatenate([thin.mean for thin in curves])
        return cls(steps.min(), steps.max(), values.min(), values.max())


def _chart(curves: Mapping[str, Thin], frame: _Frame, width: int, height: int, *, colours: bool) -> str:
    labels = [f"{frame.high:.4g}", f"{frame.low:.4g}"]
    side = max(map(len, labels))
    canvas = _Canvas(max(8, width - side - 2), height)
    for number, thin in enumerate(curves.values()):
        canvas.line(*_placed(thin, frame, canvas), colour=_COLOURS[number % len(_COLOURS)] if colours else None)
    heads = [_coloured(head, _COLOURS[n % len(_COLOURS)] if colours else None) for n, head in enumerate(curves)]
    lines = ["  ".join(heads)]
    for row, text in enumerate(canvas.rows()):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{side}} {'┤' if label else '│'}{text}".rstrip())
    ends = f"{frame.first:.0f}", f"{frame.last:.0f}"
    between = canvas.width - len(ends[0]) - len(ends[1])
    lines.append(f"{'':>{side}} └{ends[0]}{'─' * max(1, between)}{ends[1]}")
    return "\n".join(lines)


def _placed(thin: Thin, frame: _Frame, canvas: _Canvas) -> tuple[list[int], list[int]]:
    def on(values: Numbers, low: float, high: float, dots: int) -> list[int]:
        span = high / 2 - low / 2  # halves: the whole may be too large
        share = (values / 2 - low / 2) / span if span else np.full(len(values), 0.5)
        return [int(each) for each in np.rint(share * (dots - 1))]

    across = on(thin.steps, frame.first, frame.last, canvas.width * 2)
    up = on(thin.mean, frame.low, frame.high, canvas.height * 4)
    return across, [canvas.height * 4 - 1 - each for each in up]


class _Canvas:
    """Dots: two across and four down in each letter."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._letters = [[_EMPTY] * width for _ in range(height)]
        self._colours: list[list[int | None]] = [[None] * width for _ in range(height)]

    def line(self, across: Sequence[int], down: Sequence[int], *, colour: int | None) -> None:
        """Draw from point to point."""
        before = (across[0], down[0])
        for point in zip(across, down, strict=True):
            steps = max(abs(point[0] - before[0]), abs(point[1] - before[1]), 1)
            for step in range(steps + 1):
                x = before[0] + round((point[0] - before[0]) * step / steps)
                y = before[1] + round((point[1] - before[1]) * step / steps)
                self._letters[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
                self._colours[y // 4][x // 2] = colour
            before = point

    def rows(self) -> list[str]:
        """Its lines, as text."""
        return [
            "".join(_coloured("".join(map(_letter, (letter for letter, _ in some))), colour) for colour, some in line)
            for line in (
                groupby(zip(*row, strict=True), itemgetter(1)) for row in zip(self._letters, self._colours, strict=True)
            )
        ]


def _letter(code: int) -> str:
    return " " if code == _EMPTY else chr(code)


def _coloured(text: str, colour: int | None) -> str:
    return text if colour is None else f"\x1b[{colour}m{text}\x1b[0m"
