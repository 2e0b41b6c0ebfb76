"""Trees of arrays: dictionaries, lists and tuples, as deep as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemesyst.errors import ScriptError


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with what a function makes of each number, array or tensor, in the order of the names.

    Raises:
        ScriptError: A leaf is no number and no array.
    """
    if isinstance(tree, Mapping):
        made = {name: map_leaves(function, tree[name]) for name in sorted(tree, key=str)}
        return {name: made[name] for name in tree}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_leaves(function, each) for each in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map_leaves(function, each) for each in tree)
    if tree is None:
        return None
    if not isinstance(tree, int | float) and not hasattr(tree, "dtype"):
        raise ScriptError(
            f"run.mean: {type(tree).__name__} has no mean", "Give numbers, arrays, tensors, or dicts and lists of them."
        )
    return function(tree)
