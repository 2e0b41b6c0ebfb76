"""Grids: one job for each combination of some arguments."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nemesyst.errors import ScriptError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_grid(given: Any) -> dict[str, tuple[Any, ...]]:
    """The values of a grid by argument.

    Raises:
        ScriptError: It is no mapping of lists, a list is empty or names a value twice, or a value is no JSON value.

    >>> check_grid({"hidden": [32, 64]})
    {'hidden': (32, 64)}
    """
    if not isinstance(given, Mapping) or not given:
        raise ScriptError(f"grid={given!r:.80}", 'Values by argument: grid={"hidden": [32, 64]}.')
    return {name: _values(name, values) for name, values in given.items()}


def check_arguments(function: Callable[..., Any], names: Iterable[str], what: str) -> None:
    """Refuse names that a function takes no argument of, or that the framework gives.

    Raises:
        ScriptError: With the nearest names.
    """
    known = list(inspect.signature(function).parameters)[1:]
    for name in names:
        if name not in known:
            raise ScriptError(f"{what}: {function.__name__} has no argument {name!r}", nearest(str(name), known))


def combinations(grid: Mapping[str, tuple[Any, ...]] | None) -> Iterator[dict[str, Any]]:
    """Each combination, the last argument changing fastest; an empty one without a grid."""
    names = list(grid or {})
    for values in itertools.product(*(grid or {}).values()):
        yield dict(zip(names, values, strict=True))


def _values(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ScriptError(f"grid: {name}={values!r:.80} is no list", f"Write grid={{{name!r}: [...]}}.")
    found = tuple(value.item() if hasattr(value, "item") else value for value in values)  # NumPy's numbers
    try:
        texts = [json.dumps(value) for value in found]
    except (TypeError, ValueError):
        raise ScriptError(
            f"grid: {name}={list(found)!r:.80} holds what is no JSON value",
            "Give texts, numbers, lists or tables, and let the function make the rest of them.",
        ) from None
    if not texts or len(set(texts)) < len(texts):
        raise ScriptError(f"grid: {name}={list(found)!r:.80} {'names a value twice' if texts else 'is empty'}")
    return found
