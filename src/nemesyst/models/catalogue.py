"""The registry's collections: versions, aliases, promotions; an index for each query that is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.database import translated
from nemesyst.errors import UnknownModelError, nearest
from nemesyst.models.records import HEAVY, version_of
from nemesyst.models.reference import LATEST, Reference

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from nemesyst.database import Connection
    from nemesyst.types import Version

Document = dict[str, Any]

_OURS: Document = {
    "name": {"$type": "string"},
    "entity": {"$type": ["string", "null"]},
    "number": {"$type": ["int", "long"]},
}
"""What every document of ours has: one that somebody else put there must not hide the others."""

_BY_NAME = [("name", 1), ("entity", 1)]


class Catalogue:
    """Finds records by reference.

    Methods take the ``session`` of a transaction, so that a move reads and writes at one moment.

    Args:
        connection: The server.
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state)
        self.versions = database["versions"]
        self.aliases = database["aliases"]
        self.promotions = database["promotions"]
        self._indexed = False

    def prepare(self) -> None:
        """Make the indexes, once in this process, before the first write."""
        if not self._indexed:
            with translated("make the indexes of the models"):
                self.versions.create_index([*_BY_NAME, ("number", -1)], unique=True)
                self.aliases.create_index([*_BY_NAME, ("alias", 1)], unique=True)
                self.promotions.create_index([*_BY_NAME, ("alias", 1), ("move", 1)], unique=True)
            self._indexed = True

    def find(self, ref: Reference, session: Any = None, *, data: bool = False) -> Document:
        """The document of a version, with the bytes of a small model if ``data``.

        Raises:
            UnknownModelError: No such name, entity, version or alias; says which there are.
        """
        number = ref.selector
        if isinstance(number, str) and number != LATEST:
            number = self.alias(ref, session)["number"]
        wanted = {**_OURS, **_at(ref)} if number == LATEST else {**_at(ref), "number": number}
        found = self.versions.find_one(wanted, None if data else HEAVY, sort=[("number", -1)], session=session)
        if found is None:
            raise self._unknown(ref, session)
        return found

    def version(self, ref: Reference, session: Any = None) -> Version:
        """The record of a version with its aliases.

        Raises:
            UnknownModelError: No such name, entity, version or alias.
        """
        document = self.find(ref, session)
        named = self.aliases_of(_at(ref), session)
        return version_of(document, named.get((ref.name, ref.entity, document["number"]), ()))

    def list(self, wanted: Mapping[str, Any]) -> builtins.list[Version]:
        """The records that match, by name, entity and number, the highest number first."""
        named = self.aliases_of(wanted)
        found = self.versions.find({**_OURS, **wanted}, HEAVY, sort=[*_BY_NAME, ("number", -1)])
        return [version_of(each, named.get((each["name"], each["entity"], each["number"]), ())) for each in found]

    def alias(self, ref: Reference, session: Any = None) -> Document:
        """The document of an alias.

        Raises:
            UnknownModelError: No such name, entity or alias.
        """
        found = self.aliases.find_one({**_at(ref), "alias": ref.selector}, session=session)
        if found is None:
            raise self._unknown(ref, session)
        return found

    def last_number(self, ref: Reference, session: Any) -> int:
        """The highest number so far; 0 if there is none."""
        found = self.versions.find_one(
            {**_OURS, **_at(ref)}, {"number": 1, "_id": 0}, sort=[("number", -1)], session=session
        )
        return 0 if found is None else int(found["number"])

    def insert(self, ref: Reference, record: Mapping[str, Any], session: Any) -> Version:
        """Insert the record of a new version under the number of ``ref``, with the server's time."""
        inserted: Any = self.versions.find_one_and_update(
            {**_at(ref), "number": ref.selector},
            {"$setOnInsert": record, "$currentDate": {"created": True}},
            HEAVY,
            upsert=True,
            return_document=True,  # the inserted one
            session=session,
        )
        return version_of(inserted)

    def aliases_of(
        self, wanted: Mapping[str, Any], session: Any = None
    ) -> dict[tuple[str, str | None, int], tuple[str, ...]]:
        """Names of the aliases of each version, by name, entity and number."""
        named: dict[tuple[str, str | None, int], tuple[str, ...]] = {}
        for document in self.aliases.find(
            {**_OURS, "alias": {"$type": "string"}, **wanted}, sort=[*_BY_NAME, ("alias", 1)], session=session
        ):
            version = document["name"], document["entity"], document["number"]
            named[version] = (*named.get(version, ()), document["alias"])
        return named

    def _unknown(self, ref: Reference, session: Any) -> UnknownModelError:
        names = self.versions.distinct("name", _OURS, session=session)
        if ref.name not in names:
            return UnknownModelError(
                f"no model is called {ref.name!r}: {nearest(ref.name, names)}", "See: nemesyst models list"
            )
        if not self.last_number(ref, session):
            entities = self.versions.distinct("entity", {**_OURS, "name": ref.name}, session=session)
            without = ["without an entity"] if None in entities else []
            known = nearest(ref.entity or "", [each for each in entities if each is not None] + without)
            what = f"entity {ref.entity!r}" if ref.entity is not None else "version without an entity"
            return UnknownModelError(
                f"the model {ref.name!r} has no {what}: {known}", f"See: nemesyst models list {ref.name}"
            )
        remedy = f"See: nemesyst models list '{ref.path}'"
        if isinstance(ref.selector, int):
            newest = self.versions.find(
                {**_OURS, **_at(ref)}, {"number": 1}, sort=[("number", -1)], limit=10, session=session
            )
            numbers = [str(each["number"]) for each in newest]
            return UnknownModelError(f"{ref.path} has no version {ref.selector}; newest: {', '.join(numbers)}", remedy)
        found = self.aliases.find({**_at(ref), "alias": {"$type": "string"}}, session=session)
        known = nearest(str(ref.selector), [each["alias"] for each in found])
        return UnknownModelError(f"{ref.path} has no alias {ref.selector!r}: {known}", remedy)


def _at(ref: Reference) -> Document:
    return {"name": ref.name, "entity": ref.entity}
