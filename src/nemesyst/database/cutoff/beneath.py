"""Which stored collections a pipeline or a view reads besides its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemesyst.database.translate import translated
from nemesyst.errors import AccessError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemesyst.database.connection import Connection


@dataclass(frozen=True)
class Stored:
    """Collections as they are stored.

    Attributes:
        names: Names of plain and capped ones; also of those that are not there.
        series: Time-series collections, each with the field of its time.
    """

    names: frozenset[str] = frozenset()
    series: Mapping[str, str] = field(default_factory=dict)


def looked_up(stages: Sequence[Mapping[str, Any]]) -> set[str]:
    """Collections that a pipeline reads besides its own, by ``$lookup``, ``$graphLookup`` and ``$unionWith``.

    >>> sorted(looked_up([{"$lookup": {"from": "a", "pipeline": [{"$unionWith": "b"}], "as": "x"}}]))
    ['a', 'b']
    """
    return {name for stage in stages for name in _looked_up(stage)}


def _looked_up(stage: Mapping[str, Any]) -> Iterator[str]:
    for name, body in stage.items():
        if name == "$unionWith" and isinstance(body, str):
            yield body
        if not isinstance(body, Mapping):
            continue
        other = body.get({"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll"}.get(name, ""))
        if isinstance(other, str):
            yield other
        inner = body.values() if name == "$facet" else [body.get("pipeline")]
        for stages in inner:
            if isinstance(stages, list | tuple):
                yield from looked_up(stages)


def stored_beneath(connection: Connection, database: str, names: Iterable[str]) -> Stored:
    """The stored collections that reading some collections reads: views are seen through, and what they look up too.

    A user who may not list collections gets the names as they are.

    Raises:
        DatabaseError: The server cannot be asked.
    """
    special = _special(connection, database)
    found: set[str] = set()
    series: dict[str, str] = {}
    wanted = list(names)
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        options = special.get(name)
        if options is None:
            found.add(name)
        elif "timeseries" in options:
            series[name] = options["timeseries"]["timeField"]
        else:
            wanted += [options["viewOn"], *looked_up(options.get("pipeline", ()))]
    return Stored(frozenset(found), series)


def _special(connection: Connection, database: str) -> dict[str, Mapping[str, Any]]:
    """The options of all views and time-series collections."""
    try:
        with translated(f"looking at the collections of {database}"):
            listed = connection.client[database].list_collections(filter={"type": {"$ne": "collection"}})
            return {each["name"]: each.get("options", {}) for each in listed if each["name"] != "system.views"}
    except AccessError:
        return {}
