"""Names of the leaves of nested dicts, and back.

The keys on the way to a leaf are joined by ``/``, escaped as in JSON pointers (RFC 6901), so that every tree of dicts
with texts as keys can be made again from its names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nemesyst.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NESTED = {"tree": "dicts"}
"""Metadata of a file whose names are paths through nested dicts."""

DEEPEST: Final = 100
"""Dicts in dicts that are written and read; one that holds itself has no end."""


def join(keys: Iterable[object]) -> str:
    """The name of a leaf.

    >>> join(["layers", 0, "a/b"])
    'layers/0/a~1b'
    """
    return "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dicts that have these leaves.

    >>> nest({"a/b": 1, "a/c": 2})
    {'a': {'b': 1, 'c': 2}}

    Raises:
        CorruptBlobError: A name is a leaf and a dict at once.
    """
    tree: dict[str, Any] = {}
    inner: dict[tuple[str, ...], dict[str, Any]] = {(): tree}
    for name, leaf in leaves.items():
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in name.split("/"))
        if len(above) >= DEEPEST:
            raise CorruptBlobError(f"the name {name:.80}... is nested too deeply")
        place = _dict_at(tuple(above), inner, name)
        if last in place:
            raise CorruptBlobError(f"the name {name!r} is an array and a dict at once")
        place[last] = leaf
    return tree


def _dict_at(path: tuple[str, ...], inner: dict[tuple[str, ...], dict[str, Any]], name: str) -> dict[str, Any]:
    for depth in range(len(path)):
        here = path[: depth + 1]
        if here not in inner:
            above = inner[path[:depth]]
            if path[depth] in above:
                raise CorruptBlobError(f"the name {name!r} leads through an array")
            above[path[depth]] = inner[here] = {}
    return inner[path]


def holds_jax(tree: object) -> bool:
    """Whether a leaf of nested dicts, lists and tuples is one of JAX's; looks at the names of types alone."""
    waiting, seen = [tree], set()
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, dict):
            waiting.extend(here.values())
        elif isinstance(here, list | tuple):
            waiting.extend(here)
        elif type(here).__module__.partition(".")[0] in ("jax", "jaxlib"):
            return True
    return False
