"""Moving aliases: each move is one transaction and one record, and the records are a linear history.

What an alias means stands in its own document, from which moves are made, and in that of the version, where readers
find it; both change in one transaction.

A transaction reads first and writes last: if its process is killed, the server keeps what it wrote locked until the
transaction is too old (60 s by default), so the less time passes between the first write and the commit, the better.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from nemesyst.database import update_all
from nemesyst.errors import ModelError, SettingsError, UnknownModelError
from nemesyst.models.arguments import check_text
from nemesyst.models.catalogue import at
from nemesyst.models.environment import user
from nemesyst.models.records import HEAVY, Document, Move, head_of, move_of, undone_of, version_of
from nemesyst.models.reference import LATEST, Reference, check_alias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.models.store import Store
    from nemesyst.types import Version

AT_ONCE = 1000
"""Moves of one transaction at most."""

_NEW: Document = {"number": None, "moves": 0, "promotion": None}
"""What an alias is before its first move."""

ANY = object()
"""Whatever the alias means at this moment."""


@dataclass(frozen=True)
class Promotion:
    """A move that is to be made.

    Attributes:
        ref: The version.
        alias: What is to mean it.
        why: The reason, for the history.
        evidence: What a gate found; JSON values.
        expected: Number that the alias must still mean (None: nothing yet), or ``ANY``.
    """

    ref: Reference
    alias: str
    why: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = ANY

    @property
    def key(self) -> Document:
        """The query of the alias."""
        return {**at(self.ref), "alias": self.alias}


class _Moving(NamedTuple):
    """One move, with what the alias was before and which promotion holds since."""

    key: Document
    now: Document
    move: Document
    promotion: int | None


def asked(given: Any, why: str | None) -> list[Promotion]:
    """Promotions out of pairs of reference and alias.

    Raises:
        SettingsError: It is something else; names it.
    """
    remedy = "Give pairs: [('air@3', 'champion')]."
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise SettingsError(f"{given!r:.80} is no list of moves", remedy)
    found = []
    for each in given:
        if isinstance(each, Promotion):
            found.append(each)
        elif isinstance(each, tuple | list) and len(each) == 2:
            found.append(Promotion(Reference.parse(each[0]), each[1], why))
        else:
            raise SettingsError(f"{each!r:.80} is no move of an alias", remedy)
    return found


def promote(store: Store, asked: Sequence[Promotion]) -> list[Version]:
    """Let aliases mean versions: all of the moves, or none.

    Each promotion remembers the one below it (``below``), so that rollbacks go further back each time.

    Raises:
        ModelError: An alias no longer means what was expected of it.
    """
    catalogue = store.catalogue
    for each in asked:
        check_alias(each.alias)
        check_text("why", each.why)
    if len({tuple(each.key.values()) for each in asked}) != len(asked):
        raise SettingsError("an alias is to be moved twice in one call", "Name each model and alias once.")
    catalogue.prepare()

    def work(session: Any) -> list[Version]:
        moved: list[Version] = []
        moves: list[_Moving] = []
        heads = _heads(store, asked, session)
        documents = catalogue.find_all([each.ref for each in asked], session)
        for each, document in zip(asked, documents, strict=True):
            version = version_of(document)
            now = heads.get(tuple(each.key.values()), _NEW)
            _check_expected(each, now)
            if now["number"] != version.number:
                about = {"why": each.why} | ({"evidence": dict(each.evidence)} if each.evidence else {})
                move = {**_move("promote", now, version.number), **about, "below": now["promotion"]}
                moves.append(_Moving(each.key, now, move, move["move"]))
            moved.append(replace(version, aliases=tuple(sorted({*version.aliases, each.alias}))))
        _record(store, moves, session)
        return moved

    doing = f"promote {asked[0].ref} to {asked[0].alias}" if len(asked) == 1 else f"promote {len(asked)} versions"
    return store.connection.transaction(doing, work)


def rollback(store: Store, ref: Reference, why: str | None) -> Version:
    """Let an alias mean again what it meant before its last promotion that still holds; versions deleted since do not.

    Raises:
        UnknownModelError: The alias does not exist, or never meant anything earlier.
    """
    _require_alias(ref)
    check_text("why", why)
    catalogue = store.catalogue
    catalogue.prepare()

    def work(session: Any) -> Version:
        now = head_of(catalogue.alias(ref, session))
        if now["number"] is None:
            catalogue.find(ref, session)  # raises
        key = {**at(ref), "alias": ref.selector}
        undone, target = _before(store, key, now, session)
        if undone is None or target is None:
            raise UnknownModelError(
                f"{ref} means version {now['number']} and "
                + ("meant nothing before" if undone is None else "what it meant before was deleted"),
                f"Promote the version that you want: nemesyst models promote '{ref.path}@N' {ref.selector}",
            )
        move = {**_move("rollback", now, target.number), "why": why, "undoes": undone["move"]}
        _record(store, [_Moving(key, now, move, undone["below"])], session)
        return replace(target, aliases=tuple(sorted({*target.aliases, str(ref.selector)})))

    return store.connection.transaction(f"roll back {ref}", work)


def remove(store: Store, ref: Reference, alias: str, why: str | None, session: Any) -> None:
    """Let an alias mean nothing any more, as its version is deleted in the same transaction."""
    key = {**at(ref), "alias": alias}
    now = _head(store, key, session)
    move = {**_move("remove", now, None), "why": why, "below": None}
    _record(store, [_Moving(key, now, move, None)], session)


def history(store: Store, ref: Reference) -> list[Move]:
    """Every move of an alias, the first one first."""
    _require_alias(ref)
    store.catalogue.alias(ref)
    key = {**at(ref), "alias": ref.selector}
    return [move_of(document) for document in store.catalogue.promotions.find(key, sort=[("move", 1)])]


def _before(store: Store, key: Document, now: Document, session: Any) -> tuple[Document | None, Version | None]:
    """The last promotion that still holds and was from a version that is still there, and that version.

    Without such a version: one that was from a version which is gone, or None.
    """
    promotion, lost = now["promotion"], None
    while promotion is not None:
        found = store.catalogue.promotions.find_one({**key, "move": promotion}, session=session)
        undone = None if found is None else undone_of(found)
        if undone is None or undone["from"] is None:
            break
        wanted = {"name": key["name"], "entity": key["entity"], "number": undone["from"]}
        found = store.catalogue.versions.find_one(wanted, HEAVY, session=session)
        if found is not None:
            return undone, version_of(found)
        promotion, lost = undone["below"], undone
    return lost, None


def _require_alias(ref: Reference) -> None:
    if isinstance(ref.selector, int) or ref.selector == LATEST:
        raise SettingsError(f"{ref} names no alias, and only an alias has a history", f"Write {ref.path}@champion.")


def _check_expected(asked: Promotion, now: Document) -> None:
    if asked.expected is not ANY and now["number"] != asked.expected:
        path = f"{asked.ref.path}@{asked.alias}"
        raise ModelError(
            f"{path} means version {now['number']} by now, and meant {asked.expected} when it was compared",
            "Compare again with what it means now.",
        )


def _heads(store: Store, asked: Sequence[Promotion], session: Any) -> dict[tuple[Any, ...], Document]:
    """What the aliases mean now, by name, entity and alias."""
    entities: dict[tuple[str, str], list[str | None]] = {}
    for each in asked:
        entities.setdefault((each.ref.name, each.alias), []).append(each.ref.entity)
    return {
        (name, found["entity"], alias): head_of(found)
        for (name, alias), wanted in entities.items()
        for found in store.catalogue.aliases.find(
            {"name": name, "entity": {"$in": wanted}, "alias": alias}, session=session
        )
    }


def _head(store: Store, key: Document, session: Any) -> Document:
    found = store.catalogue.aliases.find_one(key, session=session)
    return _NEW if found is None else head_of(found)


def _move(kind: str, now: Document, target: int | None) -> Document:
    return {"move": now["moves"] + 1, "kind": kind, "from": now["number"], "to": target, "who": user()}


def _record(store: Store, moving: Sequence[_Moving], session: Any) -> None:
    """Write moves down: in the history, in the aliases' documents, in the versions' documents."""
    if not moving:
        return
    catalogue = store.catalogue
    filled = {"$currentDate": {"when": True}}  # the server's clock
    history, heads, gone, come = [], [], [], []
    for key, now, move, promotion in moving:
        rest = {name: value for name, value in move.items() if name != "move"}
        history.append(({**key, "move": move["move"]}, {"$setOnInsert": rest, **filled}))
        heads.append((key, {"$set": {"number": move["to"], "moves": move["move"], "promotion": promotion}}))
        path = {"name": key["name"], "entity": key["entity"]}
        if now["number"] is not None:
            gone.append(({**path, "number": now["number"]}, {"$pull": {"aliases": key["alias"]}}))
        if move["to"] is not None:
            come.append(({**path, "number": move["to"]}, {"$addToSet": {"aliases": key["alias"]}}))
    update_all(catalogue.promotions, history, session, upsert=True)
    update_all(catalogue.aliases, heads, session, upsert=True)
    update_all(catalogue.versions, [*gone, *come], session)
