"""Points between two ``_id``s, by which a collection is divided into stretches without a look at it.

They need be no ``_id`` of any row: whatever lies from one point to the next is a stretch. Of rows that come at a
steady rate (times, counters, the server's own ids), or of devices that have about as many rows each, stretches are
alike; of others some are empty and some long, which costs speed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bson import DatetimeMS, Int64, ObjectId

from nemesyst.feed.plan.key import type_of

if TYPE_CHECKING:
    from nemesyst.feed.plan.key import Bound

MOST = 256
"""Stretches of a type at most."""
_CHUNKS = 4
"""Largest chunks that a stretch is meant to have: few enough that those of the next one can be read meanwhile."""
_UNKNOWN = 8
"""Stretches where nothing tells how many rows there are."""
_INT64 = 2**63
_CHARACTERS = 8
"""Characters of a text that count, behind those that it shares with another."""

_COMPARABLE = (ObjectId, int, float, str)

Number = Callable[[Any], "int | None"]
Value = Callable[[int], Any]


def points(begin: Bound, here: Bound, last: Bound, chunks: float) -> list[Bound]:
    """Points after ``here`` up to ``last``, ascending; a function of these bounds alone.

    Args:
        begin: Where the rows begin.
        here: Up to where they are known.
        last: Where they end, of the same type.
        chunks: How many of the largest chunks lie between ``begin`` and ``here``: tells about how many are to come.
    """
    scale = _scale(here[0], last[0])
    if scale is None:
        return []
    number, value = scale
    low, high = number(here[0]), number(last[0])
    if low is None or high is None or high <= low:
        return []
    start = number(begin[0])
    known = None if start is None or start > low else max(low - start, 1)
    expected = _UNKNOWN if known is None else chunks * (high - low) / known / _CHUNKS
    count = int(min(expected, MOST))
    places = sorted({low + (high - low) * i // count for i in range(1, count)}) if count > 1 else []
    return [(value(place),) for place in places if low < place <= high]


def precedes(one: Any, other: Any) -> bool:
    """Whether a value surely comes before another one in the server's order; False also where only the server knows."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _document_precedes(one, other)
    if type_of(one) != type_of(other):
        return False
    if isinstance(one, DatetimeMS):
        return int(one) < int(other)
    comparable = isinstance(one, _COMPARABLE) and isinstance(other, _COMPARABLE) and not isinstance(one, bool)
    return comparable and bool(one < other)  # texts are compared by code points, which is the order of their bytes


def _document_precedes(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    for (name, value), (other_name, other_value) in zip(one.items(), other.items(), strict=False):
        if name != other_name or type_of(value) != type_of(other_value):
            return False
        if value != other_value:
            return precedes(value, other_value)
    return len(one) < len(other)


def _scale(low: Any, high: Any) -> tuple[Number, Value] | None:
    """How values like these two are numbers, in their order, and numbers are values."""
    if isinstance(low, Mapping) and isinstance(high, Mapping):
        return _of_documents(low, high)
    for kinds, number, value in _SIMPLE:
        if isinstance(low, kinds) and isinstance(high, kinds) and not isinstance(low, bool):
            return _only(kinds, number), value
    if type(low) is str and type(high) is str:
        return _of_texts(low, high)
    return None


def _only(kinds: Any, number: Number) -> Number:
    return lambda each: number(each) if isinstance(each, kinds) and not isinstance(each, bool) else None


def _whole(value: float) -> int | None:
    return int(value // 1) if -_INT64 <= value < _INT64 else None


_SIMPLE: tuple[tuple[Any, Callable[[Any], int | None], Value], ...] = (
    (ObjectId, lambda each: int.from_bytes(each.binary, "big"), lambda place: ObjectId(place.to_bytes(12, "big"))),
    ((int, float), _whole, Int64),
    (DatetimeMS, int, DatetimeMS),
)


def _of_texts(low: str, high: str) -> tuple[Number, Value]:
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    prefix = low[:shared]

    def number(text: Any) -> int | None:
        if type(text) is not str or not text.startswith(prefix):
            return None
        codes = [min(ord(each), 127) for each in text[shared : shared + _CHARACTERS]]
        return sum(code << 7 * (_CHARACTERS - 1 - i) for i, code in enumerate(codes))

    def value(place: int) -> str:
        return prefix + "".join(chr(place >> 7 * i & 127) for i in reversed(range(_CHARACTERS)))

    return number, value


def _of_documents(low: Mapping[str, Any], high: Mapping[str, Any]) -> tuple[Number, Value] | None:
    """By the first field in which they differ; a document without those behind it comes before all that have them."""
    same: dict[str, Any] = {}
    for (name, one), (other_name, other) in zip(low.items(), high.items(), strict=False):
        if name != other_name or type_of(one) != type_of(other):
            return None
        if one == other:
            same[name] = one
            continue
        scale = _scale(one, other)
        if scale is None:
            return None
        inner, value = scale

        def number(each: Any, name: str = name, inner: Number = inner) -> int | None:
            fits = isinstance(each, Mapping) and list(each.items())[: len(same)] == list(same.items())
            return inner(each[name]) if fits and list(each)[len(same) : len(same) + 1] == [name] else None

        return number, lambda place, name=name, value=value: {**same, name: value(place)}
    return None
