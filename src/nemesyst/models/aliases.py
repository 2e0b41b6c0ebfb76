"""Moving aliases: each move is one transaction and one record, and the records are a linear history.

A transaction reads first and writes last: if its process is killed, the server keeps what it wrote locked until the
transaction is too old (60 s by default), so the less time passes between the first write and the commit, the better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemesyst.errors import SettingsError, UnknownModelError
from nemesyst.models.records import Move, move_of, user
from nemesyst.models.reference import LATEST, check_alias

if TYPE_CHECKING:
    from nemesyst.database import Connection
    from nemesyst.models.catalogue import Catalogue, Document
    from nemesyst.models.reference import Reference
    from nemesyst.types import Version


def promote(connection: Connection, catalogue: Catalogue, ref: Reference, alias: str, why: str | None) -> Version:
    """Let ``alias`` mean the version that ``ref`` means at this moment, and return it.

    Each promotion remembers the one below it (``below``), so that rollbacks go further back each time.
    """
    check_alias(alias)
    catalogue.prepare()

    def work(session: Any) -> Version:
        version = catalogue.version(ref, session)
        number = version.number
        key = {"name": ref.name, "entity": ref.entity, "alias": alias}
        now = catalogue.aliases.find_one(key, session=session) or {"number": None, "moves": 0, "promotion": None}
        if now["number"] != number:
            move = {**_move("promote", now, number, why), "below": now["promotion"]}
            _record(catalogue, key, move, promotion=move["move"], session=session)
        return _named(version, alias)

    return connection.transaction(f"promote {ref} to {alias}", work)


def rollback(connection: Connection, catalogue: Catalogue, ref: Reference, why: str | None) -> Version:
    """Let an alias mean again what it meant before its last promotion that still holds.

    Raises:
        UnknownModelError: The alias does not exist, or never meant anything earlier.
    """
    _require_alias(ref)
    catalogue.prepare()

    def work(session: Any) -> Version:
        now = catalogue.alias(ref, session)
        key = {"name": ref.name, "entity": ref.entity, "alias": ref.selector}
        undone = catalogue.promotions.find_one({**key, "move": now["promotion"]}, session=session)
        if undone is None or undone["from"] is None:
            raise UnknownModelError(
                f"{ref} means version {now['number']} and meant nothing before",
                f"Promote the version that you want: nemesyst models promote '{ref.path}@N' {ref.selector}",
            )
        target = int(undone["from"])
        version = catalogue.version(replace(ref, selector=target), session)
        move = {**_move("rollback", now, target, why), "undoes": undone["move"]}
        _record(catalogue, key, move, promotion=undone["below"], session=session)
        return _named(version, str(ref.selector))

    return connection.transaction(f"roll back {ref}", work)


def history(catalogue: Catalogue, ref: Reference) -> list[Move]:
    """Every move of an alias, the first one first."""
    _require_alias(ref)
    catalogue.alias(ref)
    key = {"name": ref.name, "entity": ref.entity, "alias": ref.selector}
    return [move_of(document) for document in catalogue.promotions.find(key, sort=[("move", 1)])]


def _require_alias(ref: Reference) -> None:
    if isinstance(ref.selector, int) or ref.selector == LATEST:
        raise SettingsError(f"{ref} names no alias, and only an alias has a history", f"Write {ref.path}@champion.")


def _named(version: Version, alias: str) -> Version:
    return replace(version, aliases=tuple(sorted({*version.aliases, alias})))


def _move(kind: str, now: Document, target: int, why: str | None) -> Document:
    return {"move": now["moves"] + 1, "kind": kind, "from": now["number"], "to": target, "who": user(), "why": why}


def _record(catalogue: Catalogue, key: Document, move: Document, *, promotion: int | None, session: Any) -> None:
    filled = {"$currentDate": {"when": True}}  # the server's clock
    own = {**key, "move": move.pop("move")}
    catalogue.promotions.update_one(own, {"$setOnInsert": move, **filled}, upsert=True, session=session)
    now = {"number": move["to"], "moves": own["move"], "promotion": promotion}
    catalogue.aliases.update_one(key, {"$set": now}, upsert=True, session=session)
