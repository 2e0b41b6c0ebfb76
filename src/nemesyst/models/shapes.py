"""Whether what a record holds is still of the shape that it was written with; each function answers for one field."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_DEEPEST = 100


def is_text(value: object) -> bool:
    """Whether it is a text that can be stored and printed: one without halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Whether it is a number, finite or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isinf(value)


def is_seconds(value: object) -> bool:
    """Whether it is a length of time."""
    return isinstance(value, int | float) and is_number(value) and value >= 0


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_json(value: object, depth: int = 0) -> bool:
    """Whether JSON can hold it, and nothing in it is nested too deep to be read."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(is_text(name) and is_json(inner, depth + 1) for name, inner in value.items())
    if isinstance(value, list):
        return all(is_json(inner, depth + 1) for inner in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or is_text(value) or isinstance(value, bool | int)


def is_values(value: object) -> bool:
    """Whether it is a dict of JSON values."""
    return isinstance(value, dict) and is_json(value)


def is_metrics(value: object) -> bool:
    """Whether it is a dict of numbers, each finite or NaN."""
    return _each(value, is_number)


def is_tags(value: object) -> bool:
    """Whether it is a dict of texts, numbers, booleans and None."""
    return _each(value, lambda one: not isinstance(one, dict | list) and is_json(one))


def is_rows(value: object) -> bool:
    """Whether it is a dict of counts."""
    return _each(value, is_count)


def is_environment(value: object) -> bool:
    """Whether it is a dict of JSON values, with the numbers of packages as texts."""
    return isinstance(value, dict) and is_json(value) and _each(value.get("packages") or {}, is_text)


def is_learner(value: object) -> bool:
    """Whether it is a dict of JSON values whose ``args`` and ``git`` are dicts and whose ``script`` is a text."""
    if not isinstance(value, dict) or not is_json(value):
        return False
    inner = all(isinstance(value.get(name), dict | None) for name in ("args", "git"))
    return inner and all(value.get(name) is None or is_text(value[name]) for name in ("script", "function", "source"))


def is_imported(value: object) -> bool:
    """Whether it is a dict of texts."""
    return _each(value, lambda one: one is None or is_text(one))


def _each(value: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(is_text(name) and fits(inner) for name, inner in value.items())
