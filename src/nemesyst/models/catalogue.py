"""The registry's collections: versions, aliases, promotions, tombstones; an index for each query that is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.database import translated
from nemesyst.models.records import HEAVY, Document, version_of
from nemesyst.models.reference import LATEST, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nemesyst.database import Connection
    from nemesyst.types import Version

OURS: Document = {
    "name": {"$type": "string"},
    "entity": {"$type": ["string", "null"]},
    "number": {"$type": ["int", "long"]},
}
"""What every document of ours has: one that somebody else put there must not hide the others."""

_BY_NAME = [("name", 1), ("entity", 1)]
_NAMED = {"aliases.0": {"$exists": True}}
"""Versions that have an alias; few, so they have an index of their own."""


class Catalogue:
    """Finds records by reference.

    Methods take the ``session`` of a transaction, so that a move reads and writes at one moment.

    Args:
        connection: The server.
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state, any_date=True)  # one damaged record must not hide the others
        self.versions = database["versions"]
        self.tombstones = database["tombstones"]
        self.evaluations = database["evaluations"]
        self.aliases = database["aliases"]
        self.promotions = database["promotions"]
        self._indexed = False

    def prepare(self) -> None:
        """Make the indexes, once in this process, before the first write."""
        if self._indexed:
            return
        with translated("make the indexes of the models"):
            for collection in (self.versions, self.tombstones):
                collection.create_index([*_BY_NAME, ("number", -1)], unique=True)
            self.versions.create_index([*_BY_NAME, ("aliases", 1)], unique=True, partialFilterExpression=_NAMED)
            self.versions.create_index("blobs", partialFilterExpression={"blobs.0": {"$exists": True}})
            self.versions.create_index("plan", sparse=True)
            self.versions.create_index([("name", 1), ("created", -1)])
            self.versions.create_index([("entity", 1), ("name", 1), ("number", -1)])
            self.versions.create_index([("created", -1)])
            self.versions.create_index([("name", 1), ("facts.k", 1), ("facts.v", 1)])
            self.versions.create_index([("facts.k", 1), ("facts.v", 1)])
            self.aliases.create_index([*_BY_NAME, ("alias", 1)], unique=True)
            self.promotions.create_index([*_BY_NAME, ("alias", 1), ("move", 1)], unique=True)
        self._indexed = True

    def find(self, ref: Reference, session: Any = None, *, data: bool = False) -> Document:
        """The document of a version, by one read; with the bytes of small contents if ``data``.

        Raises:
            UnknownModelError: No such name, entity, version or alias; says which there are.
        """
        wanted = {**(OURS if ref.selector == LATEST else {}), **at(ref), **_selected(ref.selector)}
        sort = [("number", -1)] if ref.selector == LATEST else None
        found = self.versions.find_one(wanted, None if data else HEAVY, sort=sort, session=session)
        if found is None:
            from nemesyst.models.unknown import unknown  # here: it is an exception

            raise unknown(self, ref, session)
        return found

    def find_all(self, refs: Sequence[Reference], session: Any = None) -> list[Document]:
        """The documents of many versions, by a read for each name and selector.

        Raises:
            UnknownModelError: One means nothing.
        """
        entities: dict[tuple[str, int | str], list[str | None]] = {}
        for ref in refs:
            entities.setdefault((ref.name, ref.selector), []).append(ref.entity)
        found: dict[Reference, Document] = {}
        for (name, selector), wanted in entities.items():
            ours = OURS if selector == LATEST else {}
            query = {**ours, "name": name, "entity": {"$in": wanted}, **_selected(selector)}
            stages: list[Document] = [{"$match": query}]
            if selector == LATEST:
                stages = [*_first_of(query, "$$ROOT"), {"$replaceWith": "$first"}]
            for each in self.versions.aggregate([*stages, {"$unset": list(HEAVY)}], session=session):
                found[Reference(name, each["entity"], selector)] = each
        return [found[ref] if ref in found else self.find(ref, session) for ref in refs]

    def version(self, ref: Reference, session: Any = None) -> Version:
        """The record of a version.

        Raises:
            UnknownModelError: No such name, entity, version or alias.
        """
        return version_of(self.find(ref, session))

    def alias(self, ref: Reference, session: Any = None) -> Document:
        """The document of an alias.

        Raises:
            UnknownModelError: No such name, entity or alias.
        """
        found = self.aliases.find_one({**at(ref), "alias": ref.selector}, session=session)
        if found is None:
            from nemesyst.models.unknown import unknown  # here: it is an exception

            raise unknown(self, ref, session)
        return found

    def last_numbers(self, refs: Iterable[Reference], session: Any = None) -> dict[tuple[str, str | None], int]:
        """The highest number that was ever given to each name and entity; those without any lack."""
        entities: dict[str, list[str | None]] = {}
        for ref in refs:
            entities.setdefault(ref.name, []).append(ref.entity)
        last: dict[tuple[str, str | None], int] = {}
        for name, wanted in entities.items():
            highest = _first_of({"name": name, "entity": {"$in": wanted}}, "$number")
            for collection in (self.versions, self.tombstones):
                for found in collection.aggregate(highest, session=session):
                    key, number = (name, found["_id"]), found["first"]
                    if isinstance(number, int):  # else somebody else put it there
                        last[key] = max(last.get(key, 0), number)
        return last

    def insert(self, documents: Sequence[Mapping[str, Any]], session: Any) -> None:
        """Insert the records of new versions."""
        self.versions.insert_many([dict(each) for each in documents], session=session)

    def now(self) -> Any:
        """The server's time (UTC)."""
        return self.versions.database.command("hello")["localTime"]


def at(ref: Reference) -> Document:
    """The query of a name and entity."""
    return {"name": ref.name, "entity": ref.entity}


def _selected(selector: int | str) -> Document:
    """The query of a selector; none for the latest."""
    if selector == LATEST:
        return {}
    return {"number": selector} if isinstance(selector, int) else {"aliases": selector, **_NAMED}


def _first_of(query: Document, what: str) -> list[Document]:
    """Of each entity the version with the highest number: the server jumps from one to the next in the index."""
    return [
        {"$match": query},
        {"$sort": {"entity": 1, "number": -1}},
        {"$group": {"_id": "$entity", "first": {"$first": what}}},
    ]
