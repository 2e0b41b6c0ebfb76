"""Lengths of time: ``"10s"``, ``"5min"``, ``"1h"`` beside dates, a number in the field's own unit beside numbers."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from nemesyst.errors import FeedError

Duration = str | int | float
"""A text in canonical form (``"1min"``, never ``"60s"``), or a number in the unit of the time field."""

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000, "ms": 1}
_SPELLINGS = {
    "ms": "ms", "millisecond": "ms", "milliseconds": "ms",
    "s": "s", "sec": "s", "second": "s", "seconds": "s",
    "min": "min", "m": "min", "minute": "min", "minutes": "min",
    "h": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
    "w": "w", "week": "w", "weeks": "w",
}  # fmt: skip
_TERM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def duration(text: str | timedelta) -> int:
    """A length of time in milliseconds.

    Args:
        text: ``"10s"``, ``"5min"``, ``"1.5h"``, ``"1h30min"``, ``"7d"``, ``"250ms"``; or a ``timedelta``.

    Raises:
        FeedError: It is not such a text, or not a whole number of milliseconds above 0.

    >>> duration("60s") == duration("1min") == 60_000
    True
    """
    total = text / timedelta(milliseconds=1) if isinstance(text, timedelta) else _parsed(text)
    if total < 1 or total != round(total) or total > 2**53:
        raise FeedError(f"{text!r} is not a length of time", "The shortest is 1ms; give whole milliseconds.")
    return round(total)


def canonical(value: Any) -> Duration:
    """The one spelling of a length of time: the largest unit that divides it, or the plain number.

    Raises:
        FeedError: It is neither a length of time nor a finite number above 0.

    >>> canonical("60s"), canonical("90s"), canonical(10.0)
    ('1min', '90s', 10)
    """
    if isinstance(value, str | timedelta):
        milliseconds = duration(value)
        unit = next(unit for unit, size in _MILLISECONDS.items() if milliseconds % size == 0)
        return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise FeedError(
            f"{value!r} is not a length of time",
            'Write "10s", "5min" or "1h" where time is a date, a number above 0 where it is a number.',
        )
    return int(value) if float(value).is_integer() else float(value)


def _parsed(text: str) -> float:
    terms = _TERM.findall(text)
    units = [_SPELLINGS.get("month" if unit == "M" else unit.lower()) for _, unit in terms]
    if not terms or "".join(_TERM.sub("", text)) or None in units:
        raise FeedError(f"{text!r} is not a length of time", 'Write a number and ms, s, min, h, d or w, such as "10s".')
    sizes = {**_MILLISECONDS, "w": 7 * _MILLISECONDS["d"]}
    # hundredths of a second and the like are exact in milliseconds, though not as binary fractions
    return sum(round(float(number) * sizes[str(unit)], 6) for (number, _), unit in zip(terms, units, strict=True))
