"""Pictures of a model card: SVG of our own, whose colours the page sets, so that they follow light and dark.

They are drawn 360 units wide, so that their texts can be read on a phone. All texts are escaped.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WIDTH = 360
_LETTER = 7.6
"""Width of a letter, about."""
_LARGEST = 1e300
"""Numbers from here on are not drawn: their differences need not be numbers."""
_SERIES = 4
"""Lines of one picture, at most: as many as there are colours."""


class Mark(NamedTuple):
    """A value with its interval.

    Attributes:
        label: Whose it is.
        value: The value.
        low: Lower end; NaN: there is no interval.
        high: Upper end.
        chosen: Whether it is the one that the card is about.
    """

    label: str
    value: float
    low: float
    high: float
    chosen: bool = False


def intervals(title: str, marks: Sequence[Mark]) -> str:
    """Values beside each other, a line each, with their intervals; those that are no numbers are said to be none."""
    finite = [x for mark in marks for x in (mark.value, mark.low, mark.high) if math.isfinite(x)]
    left = min(max((len(_short(mark.label)) for mark in marks), default=0) * _LETTER + 10, 165)
    right = _WIDTH - 14 - max((len(f"{mark.value:.4g}") for mark in marks), default=0) * _LETTER
    scale = _Scale(finite, left, right)
    height = 26 * len(marks) + 34
    parts = list(_grid(scale, 8, height - 24))
    for row, mark in enumerate(marks):
        y = 22 + 26 * row
        kind = "one" if mark.chosen else "other"
        parts.append(_text(left - 8, y + 4, _short(mark.label), "end", "name"))
        if not math.isfinite(mark.value):
            parts.append(_text(left + 4, y + 4, "no number", "start", "ink"))
            continue
        if math.isfinite(mark.low) and math.isfinite(mark.high):
            parts.append(
                f'<line class="bar {kind}" x1="{scale(mark.low):.1f}" x2="{scale(mark.high):.1f}" y1="{y}" y2="{y}"/>'
            )
        parts.append(f'<circle class="dot {kind}" cx="{scale(mark.value):.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(_WIDTH - 2, y + 4, f"{mark.value:.4g}", "end", "ink"))
    return _svg(title, height, parts)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], across: str) -> str:
    """Lines over one axis, at most four, named above them; a point that is no number breaks its line."""
    shown = dict(list(series.items())[:_SERIES])
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points if math.isfinite(y)]
    height, top = 210, 30
    up = _Scale(ys, height - 36, top)
    left = max((len(label) for _, label in up.ticks), default=1) * _LETTER + 10
    along = _Scale(xs, left, _WIDTH - 10, whole=True)
    parts = []
    for y, label in up.ticks:
        parts.append(f'<line class="grid" x1="{left:.1f}" x2="{_WIDTH - 10}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(_text(left - 5, up(y) + 4, label, "end", "ink"))
    for x, label in along.ticks:
        parts.append(_text(along(x), height - 20, label, "middle", "ink"))
    parts.append(_text(_WIDTH - 10, height - 5, across, "end", "ink"))
    begin = left
    for number, (name, points) in enumerate(shown.items()):
        parts.append(f'<line class="line s{number}" x1="{begin:.1f}" x2="{begin + 14:.1f}" y1="12" y2="12"/>')
        parts.append(_text(begin + 18, 16, _short(name), "start", "name"))
        begin += 32 + len(_short(name)) * _LETTER
        parts += [f'<path class="line s{number}" d="{path}"/>' for path in _paths(points, along, up)]
    return _svg(title, height, parts)


def scatter(title: str, points: Sequence[tuple[float, float]], across: str, upward: str) -> str:
    """Points over two axes of the same scale, with the line on which both are equal."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    values = [value for point in finite for value in point]
    height = 300
    up = _Scale(values, height - 40, 24)
    left = max((len(label) for _, label in up.ticks), default=1) * _LETTER + 10
    along = _Scale(values, left, _WIDTH - 20)
    parts = []
    for value, label in up.ticks:
        parts.append(
            f'<line class="grid" x1="{left:.1f}" x2="{_WIDTH - 20}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
        )
        parts.append(_text(left - 5, up(value) + 4, label, "end", "ink"))
    for value, label in along.ticks:
        parts.append(_text(along(value), height - 22, label, "middle", "ink"))
    ends = f'x1="{along(up.low):.1f}" y1="{up(up.low):.1f}" x2="{along(up.high):.1f}" y2="{up(up.high):.1f}"'
    parts.append(f'<line class="equal" {ends}/>')
    parts += [f'<circle class="point" cx="{along(x):.1f}" cy="{up(y):.1f}" r="2.5"/>' for x, y in finite]
    parts += [_text(_WIDTH - 20, height - 6, across, "end", "ink"), _text(2, 12, upward, "start", "ink")]
    return _svg(title, height, parts)


class _Scale:
    """Numbers on a length of the picture.

    Args:
        values: What must be on it.
        first: Where its low end is.
        last: Where its high end is.
        whole: Whether its ends are those of the values, and its ticks whole numbers.
    """

    def __init__(self, values: Iterable[float], first: float, last: float, *, whole: bool = False) -> None:
        finite = [value for value in values if abs(value) < _LARGEST]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if not high - low > abs(high) * 1e-9:
            low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
        step = _step(high - low)
        if whole:
            step = max(step, 1.0)
        else:
            low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        self.low, self.high, self._first, self._last = low, high, first, last
        begin = math.ceil(low / step - 1e-9)
        self.ticks = [(n * step, f"{n * step:.6g}") for n in range(begin, begin + 12) if n * step <= high + step * 1e-9]

    def __call__(self, value: float) -> float:
        """Where a number is."""
        return self._first + (value - self.low) / (self.high - self.low) * (self._last - self._first)


def _step(span: float) -> float:
    size = 10.0 ** math.floor(math.log10(span / 4))
    return next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 4.5)


def _grid(scale: _Scale, top: float, bottom: float) -> Iterable[str]:
    for value, label in scale.ticks:
        yield f'<line class="grid" x1="{scale(value):.1f}" x2="{scale(value):.1f}" y1="{top}" y2="{bottom}"/>'
        yield _text(scale(value), bottom + 16, label, "middle", "ink")


def _paths(points: Sequence[tuple[float, float]], along: _Scale, up: _Scale) -> list[str]:
    paths: list[str] = []
    path = ""
    for x, y in points:
        if not math.isfinite(y):
            paths.append(path)
            path = ""
            continue
        path += f"{'L' if path else 'M'}{along(x):.1f} {up(y):.1f}"
    return [each for each in (*paths, path) if each]


def _short(label: str) -> str:
    return label if len(label) <= 20 else label[:9] + "…" + label[-10:]


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
