"""Deleting versions: the record goes, and a tombstone keeps its number and what it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemesyst.errors import ModelError, SettingsError
from nemesyst.models import aliases as moves
from nemesyst.models.arguments import check_text
from nemesyst.models.catalogue import at
from nemesyst.models.environment import user
from nemesyst.models.records import Document, bare_version, version_of
from nemesyst.models.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.models.store import Store
    from nemesyst.types import Version

_AT_ONCE = 1000


def delete(store: Store, refs: Sequence[str], *, aliases: bool, why: str | None) -> list[Version]:
    """Delete versions; see :meth:`nemesyst.Models.delete`."""
    if not isinstance(refs, Iterable):
        raise SettingsError(f"delete({refs!r})", "Give a reference, such as 'air@3', or a list of them.")
    check_text("why", why)
    wanted = list(dict.fromkeys(map(Reference.parse, refs)))
    if not 0 < len(wanted) <= _AT_ONCE:
        raise SettingsError(f"{len(wanted)} versions are to be deleted at once", f"Give 1 to {_AT_ONCE} references.")
    catalogue = store.catalogue
    catalogue.prepare()

    def work(session: Any) -> list[Version]:
        documents = {found["_id"]: found for found in catalogue.find_all(wanted, session)}
        versions = [_version(store, document, session) for document in documents.values()]
        for version in versions:
            if version.aliases and not aliases:
                raise ModelError(
                    f"{version.ref} is {' and '.join(version.aliases)}, and was not deleted",
                    "Promote another version first, or say that its aliases may go: aliases=True (--aliases).",
                )
            for alias in version.aliases:
                moves.remove(store, Reference(version.name, version.entity), alias, why, session)
        now = catalogue.now()
        tombstones = [_tombstone(each, why, now) for each in documents.values()]
        catalogue.tombstones.insert_many(tombstones, session=session)
        catalogue.versions.delete_many({"_id": {"$in": list(documents)}}, session=session)
        theirs = [{name: each[name] for name in ("name", "entity", "number")} for each in documents.values()]
        catalogue.evaluations.delete_many({"$or": theirs}, session=session)
        return versions

    named = wanted[0] if len(wanted) == 1 else f"{len(wanted)} versions"
    return store.connection.transaction(f"delete {named}", work)


def _version(store: Store, document: Document, session: Any) -> Version:
    """What a record says; of a damaged one which version it is, with the aliases whose own documents name it."""
    try:
        return version_of(document)
    except ModelError:
        bare = bare_version(document)
        heads = store.catalogue.aliases.find(
            {**at(Reference(bare.name, bare.entity)), "number": bare.number}, session=session
        )
        return replace(bare, aliases=tuple(sorted(each["alias"] for each in heads)))


def _tombstone(document: Document, why: str | None, now: Any) -> Document:
    """What is kept of a version: everything but its contents, of which it says what they were."""
    named = document.get("contents")
    contents = {
        name: {"digest": content.get("digest"), "size": content.get("size")}
        for name, content in (named if isinstance(named, dict) else {}).items()
        if isinstance(content, dict)
    }
    kept = {name: value for name, value in document.items() if name not in ("blobs", "facts", "aliases", "plan")}
    return {**kept, "contents": contents, "who": user(), "why": why, "deleted": now}
