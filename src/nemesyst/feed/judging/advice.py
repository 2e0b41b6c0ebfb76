"""Which index serves a pipeline, along which field the collection can be cut, and which index would help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import Regex

from nemesyst.database import indexes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nemesyst.database import Connection

_RANGES = frozenset({"$gt", "$gte", "$lt", "$lte", "$in"})


@dataclass(frozen=True)
class Advice:
    """What the indexes of a collection are worth to a feed.

    Attributes:
        access: How the server would find the documents of the leading match.
        index: The index along which the collection is cut into chunks; None: along ``_id``.
        key: The field of that index along which it is cut.
        command: An index that would help, as a command for MongoDB's shell; None if none is lacking.
        why: What it would help, as a sentence; empty if none is lacking.
    """

    access: indexes.Access
    index: indexes.Index | None = None
    key: str | None = None
    command: str | None = None
    why: str = ""


def advise(
    connection: Connection,
    database: str,
    collection: str,
    match: Mapping[str, Any] | None,
    *,
    order: Sequence[str] = (),
) -> Advice:
    """Ask the server which index it would use, and tell which one it lacks.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection.
        match: The leading match of the pipeline; see :attr:`Judgement.match`.
        order: Fields by which rows are wanted in order, such as (by, on) of a window.

    Raises:
        PipelineError: The server refuses the match.
        DatabaseError: The server cannot be asked.
    """
    known = indexes.indexes_of(connection, database, collection)
    access = indexes.access_of(connection, database, collection, match, known=known)
    key = key_field(access, match)
    index = access.index if key is not None else None
    if not known:  # a view or a time-series collection: its indexes are those of another
        return Advice(access, index, key)
    in_order = _gives_order(known, set(_equal(match)), order)
    if order and not in_order and not keyed_by(connection, database, collection, known, order):
        wanted = [*_equal(match), *order]
        why = f"rows are wanted by {', '.join(order)}: an index gives them in that order without sorting"
        return Advice(access, index, key, _command(collection, wanted), why)
    wanted = [*_equal(match), *_ranged(match)]
    if access.kind == "scan" and wanted:
        why = "no index serves the $match, so that every document is read; worth it where few match"
        return Advice(access, index, key, _command(collection, wanted), why)
    if access.kind == "index" and key is None and access.index is not None and wanted:
        why = f"index {access.index.name} serves the $match, but cannot be cut into ranges; this one can"
        return Advice(access, index, key, _command(collection, [*_equal(match), *(_ranged(match) or ["_id"])]), why)
    return Advice(access, index, key)


def key_field(access: indexes.Access, match: Mapping[str, Any] | None) -> str | None:
    """The field along which the part of an index that serves a match can be cut into ranges.

    It is the first field of the index that the match does not fix to one value.

    Returns:
        None when no index serves the match, or it is used up, multikey, hashed, text, wildcard, sparse, partial or
        collated.
    """
    index = access.index
    if index is None or access.kind not in {"index", "clustered", "id"} or access.multikey or not index.ordered:
        return None
    fixed = set(_equal(match))
    if access.kind == "id":
        return "_id"
    return next((field for field, _ in index.keys if field not in fixed), None)


def _equal(match: Mapping[str, Any] | None) -> list[str]:
    """Fields that a match fixes to one value."""
    found = dict.fromkeys(field for field, value in _terms(match or {}) if _is_one(value))
    return list(found)


def _ranged(match: Mapping[str, Any] | None) -> list[str]:
    """The fields that a match bounds; an index can serve one of them behind those that are fixed."""
    fixed = _equal(match)
    bounded = [
        field
        for field, value in _terms(match or {})
        if isinstance(value, Mapping) and _RANGES & set(value) and field not in fixed
    ]
    return bounded[:1]


def _terms(match: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in match.items():
        if key == "$and" and isinstance(value, list | tuple):
            for inner in value:
                yield from _terms(inner)
        elif not key.startswith("$"):
            yield key, value


def _is_one(value: Any) -> bool:
    """Whether a condition fixes a field to one value; null also stands for a missing field, so it does not."""
    if isinstance(value, Mapping) and len(value) == 1:
        operator, inner = next(iter(value.items()))
        if operator == "$eq":
            return _is_value(inner)
        if operator == "$in":
            return isinstance(inner, list | tuple) and len(inner) == 1 and _is_one(inner[0])
    return _is_value(value) and not (isinstance(value, Mapping) and any(str(key).startswith("$") for key in value))


def _is_value(value: Any) -> bool:
    return value is not None and not isinstance(value, list | tuple | Regex | re.Pattern)


def _gives_order(known: Sequence[indexes.Index], fixed: set[str], order: Sequence[str]) -> bool:
    """Whether an index gives rows in order of some fields, those apart that are fixed to one value."""
    wanted = [field for field in order if field not in fixed]
    for index in known:
        rest = [(field, way) for field, way in index.keys if field not in fixed][: len(wanted)]
        if index.ordered and [field for field, _ in rest] == wanted and len({way for _, way in rest}) <= 1:
            return True
    return False


def keyed_by(
    connection: Connection, database: str, collection: str, known: Sequence[indexes.Index], fields: Sequence[str]
) -> bool:
    """Whether a collection is clustered, on documents of just these fields, as ``hub.put(key=...)`` makes it.

    The first and the last ``_id`` are looked at.

    Raises:
        DatabaseError: They cannot be read.
    """
    if not any(index.clustered for index in known):
        return False
    ends = indexes.end_ids(connection, database, collection)
    return bool(ends) and all(isinstance(each, Mapping) and list(each) == list(fields) for each in ends)


def _command(collection: str, fields: Sequence[str]) -> str:
    name = f"db.{collection}" if collection.isidentifier() else f"db.getCollection({collection!r})"
    return f"{name}.createIndex({indexes.shown(tuple((field, 1) for field in dict.fromkeys(fields)))})"
