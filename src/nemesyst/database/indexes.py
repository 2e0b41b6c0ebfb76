"""Which indexes a collection has, and which one the server would use; needs no more than a read role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pymongo import errors as driver

from nemesyst.database.translate import redact, translated
from nemesyst.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.database.connection import Connection

_A_VIEW = 166  # CommandNotSupportedOnView
_REFUSED = {2, 9, 17, 40, 16}  # a query that does not parse: BadValue, FailedToParse and the like
Kind = Literal["scan", "index", "clustered", "id", "other"]
_KINDS: Mapping[str, Kind] = {
    "COLLSCAN": "scan",
    "IXSCAN": "index",
    "COUNT_SCAN": "index",
    "DISTINCT_SCAN": "index",
    "EXPRESS_IXSCAN": "index",
    "CLUSTERED_IXSCAN": "clustered",
    "EXPRESS_CLUSTERED_IXSCAN": "clustered",
    "IDHACK": "id",
    "EOF": "id",
}


@dataclass(frozen=True)
class Index:
    """An index of a collection.

    Attributes:
        name: Its name.
        keys: Field and direction (1, -1) or kind (``"hashed"``, ``"text"``, ``"2dsphere"``), in order.
        clustered: Whether the documents themselves are in its order.
        sparse: Whether documents without its fields are left out.
        partial: The filter of a partial index, or None.
        collated: Whether texts are compared by a language's rules.
        hidden: Whether the server leaves it unused.
    """

    name: str
    keys: tuple[tuple[str, Any], ...]
    clustered: bool = False
    sparse: bool = False
    partial: Mapping[str, Any] | None = None
    collated: bool = False
    hidden: bool = False

    @property
    def ordered(self) -> bool:
        """Whether it holds every document, in an order by values, so that a collection can be walked along it."""
        whole = not (self.sparse or self.collated or self.hidden or self.partial is not None)
        return whole and all(way in (1, -1) and "$**" not in field for field, way in self.keys)

    @property
    def shown(self) -> str:
        """Its keys as MongoDB's shell takes them."""
        return shown(self.keys)


@dataclass(frozen=True)
class Access:
    """How the server would find the documents of a query.

    Attributes:
        kind: ``"scan"`` reads the whole collection, ``"index"`` and ``"clustered"`` a part of it, ``"id"`` one
            document or none, ``"other"`` something else, such as several indexes at once.
        index: The index; None unless it is one that the collection has.
        multikey: Whether the index holds several keys of one document, as a field of it holds arrays.
    """

    kind: Kind
    index: Index | None = None
    multikey: bool = False


def shown(keys: tuple[tuple[str, Any], ...]) -> str:
    """Keys of an index as MongoDB's shell takes them.

    >>> shown((("site", 1), ("door.t", -1)))
    "{site: 1, 'door.t': -1}"
    """
    named = ((field if field.isidentifier() else repr(field), way) for field, way in keys)
    return "{" + ", ".join(f"{field}: {way!r}" for field, way in named) + "}"


def indexes_of(connection: Connection, database: str, collection: str) -> tuple[Index, ...]:
    """The indexes of a collection; none for a view, and for a collection that is not there.

    Raises:
        DatabaseError: They cannot be read.
    """
    with translated(f"listing the indexes of {database}.{collection}"):
        try:
            found = list(connection.client[database][collection].list_indexes())
        except driver.OperationFailure as error:
            if error.code == _A_VIEW:
                return ()
            raise
    return tuple(_index(each) for each in found)


def end_ids(connection: Connection, database: str, collection: str) -> list[Any]:
    """The first and the last ``_id`` of a collection in the server's order; empty when it has no documents.

    Raises:
        DatabaseError: They cannot be read.
    """
    rows = connection.client[database][collection]
    with translated(f"reading {database}.{collection}"):
        found = [rows.find_one({}, {"_id": 1}, sort=[("_id", way)]) for way in (1, -1)]
    return [each["_id"] for each in found if each is not None]


def _index(given: Mapping[str, Any]) -> Index:
    return Index(
        name=given["name"],
        keys=tuple((field, int(way) if isinstance(way, float) else way) for field, way in given["key"].items()),
        clustered=bool(given.get("clustered")),
        sparse=bool(given.get("sparse")),
        partial=given.get("partialFilterExpression"),
        collated="collation" in given,
        hidden=bool(given.get("hidden")),
    )


def access_of(
    connection: Connection,
    database: str,
    collection: str,
    match: Mapping[str, Any] | None,
    *,
    hint: str | None = None,
    known: tuple[Index, ...] | None = None,
) -> Access:
    """How the server would find the documents of a query; it plans the query and does not run it.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection or view.
        match: The query; None: every document.
        hint: Name of an index that it must use.
        known: The collection's indexes; None: the server is asked.

    Raises:
        PipelineError: The server refuses the query.
        DatabaseError: It cannot plan.
    """
    find = {"find": collection, "filter": dict(match or {}), **({"hint": hint} if hint else {})}
    with translated(f"planning a query of {database}.{collection}"):
        try:
            reply = connection.explain(database, find)
        except driver.OperationFailure as error:
            if error.code not in _REFUSED:
                raise
            reason = redact(str(error)).split(", full error:", maxsplit=1)[0]
            raise PipelineError(
                f"query over {collection}: the server refuses it: {reason}", "Correct the $match that it names."
            ) from None
    leaves = [leaf for plan in _plans(reply) for leaf in _leaves(plan)]
    return _access(leaves, indexes_of(connection, database, collection) if known is None else known)


def _plans(reply: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The winning plans in a reply: one, or one of each shard; a view's are those of its pipeline's cursor."""
    if "queryPlanner" in reply:
        plan = reply["queryPlanner"]["winningPlan"]
        if "shards" in plan:
            for shard in plan["shards"]:
                yield shard["winningPlan"]
        else:
            yield plan
    for stage in reply.get("stages", ()):
        if "$cursor" in stage:
            yield from _plans(stage["$cursor"])
    shards = reply.get("shards")
    for shard in shards.values() if isinstance(shards, Mapping) else ():
        yield from _plans(shard)


def _leaves(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The stages of a plan that read documents or keys."""
    plan = plan.get("queryPlan", plan)  # the slot-based engine shows two
    below = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", ())
    for inner in below:
        yield from _leaves(inner)
    if not below:
        yield plan


def _access(leaves: list[Mapping[str, Any]], known: tuple[Index, ...]) -> Access:
    kinds: set[Kind] = {_KINDS.get(leaf.get("stage", ""), "other") for leaf in leaves}
    names = {leaf.get("indexName") for leaf in leaves}
    if len(kinds) != 1 or len(names) != 1:
        return Access("other")
    kind, name = kinds.pop(), names.pop()
    if kind == "clustered":
        index = next((each for each in known if each.clustered), None)
    else:
        index = next((each for each in known if each.name == ("_id_" if kind == "id" else name)), None)
    return Access(kind, index, multikey=any(leaf.get("isMultiKey") for leaf in leaves))
