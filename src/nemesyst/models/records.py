"""What the registry's documents are: versions, and the moves of an alias."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs
from nemesyst.errors import ModelError, SettingsError
from nemesyst.models import shapes
from nemesyst.models.reference import Reference, check_alias
from nemesyst.types import Stored, Version, json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Document = dict[str, Any]

MODEL = "model"
CONTENTS = (MODEL, "optimizer", "onnx", "golden", "curves", "lineage")
"""What may be stored with a version; ``lineage`` is here when its text is too long for the record."""

HEAVY = {f"contents.{name}.data": 0 for name in CONTENTS}
"""Projection that leaves the bytes of small contents where they are."""


@dataclass(frozen=True)
class Move:
    """One promotion or rollback of an alias.

    Attributes:
        number: 1 for the first move of this alias; one more for each.
        kind: ``"promote"``, ``"rollback"``, or ``"remove"`` when its version was deleted.
        source: Number of the version that the alias named before, or None.
        target: Number of the version that it names since; None: it is gone.
        who: User and machine.
        why: Reason given, or None.
        when: Time of the move (UTC, by the server's clock).
        evidence: What a gate found, where one was asked; else empty.
    """

    number: int
    kind: str
    source: int | None
    target: int | None
    who: str
    why: str | None
    when: datetime
    evidence: Mapping[str, Any] = field(default_factory=dict)


def version_of(document: Mapping[str, Any]) -> Version:
    """Read the record of a version; its lineage is checked when it is asked for.

    Raises:
        ModelError: It has been edited, and lacks something or holds another type.
    """
    reader = _Reader(document)
    bare = bare_version(document)
    contents = {name: _stored(reader, content) for name, content in reader.get("contents", dict).items()}
    if MODEL not in contents:
        raise reader.damaged("contents")
    text = reader.text("feed")
    try:
        feed = None if text is None else json_object(text)
    except ValueError:
        raise reader.damaged("feed") from None
    return Version(
        name=bare.name,
        entity=bare.entity,
        number=bare.number,
        framework=reader.get("framework", str),
        digest=contents[MODEL].digest,
        size=contents[MODEL].size,
        created=reader.get("created", datetime).replace(tzinfo=UTC),
        contents=contents,
        metrics=reader.needed("metrics", shapes.is_metrics),
        tags=reader.shaped("tags", shapes.is_tags) or {},
        text=reader.text("text"),
        args=reader.needed("args", shapes.is_values),
        architecture=reader.text("architecture"),
        build=reader.text("build"),
        feed=feed,
        rows=reader.shaped("rows", shapes.is_rows) or {},
        learner=reader.shaped("learner", shapes.is_learner),
        parent=reader.text("parent"),
        node=reader.text("node"),
        environment=reader.shaped("environment", shapes.is_environment) or {},
        seconds=reader.shaped("seconds", shapes.is_seconds),
        aliases=tuple(sorted(map(reader.alias, reader.maybe("aliases", list) or ()))),
        imported=reader.shaped("imported", shapes.is_imported),
        lineage_text=reader.text("lineage"),
    )


def bare_version(document: Mapping[str, Any]) -> Version:
    """Which version a record is of, and no more: of a record that is damaged elsewhere, too.

    Raises:
        ModelError: Its name, entity or number has been edited.
    """
    reader = _Reader(document)
    name, entity, number = reader.get("name", str), reader.text("entity"), reader.get("number", int)
    reference = Reference(name, entity, number)
    try:
        known = Reference.parse(str(reference)) == reference
    except SettingsError:
        known = False
    if not known:
        raise reader.damaged("name")
    return Version(name, entity, number, framework="", digest="", size=0, created=datetime.fromtimestamp(0, UTC))


def content_of(document: Mapping[str, Any], name: str = MODEL) -> blobs.Content | None:
    """Where one content of a version is; None where it has no such content.

    Raises:
        ModelError: The record has been edited.
    """
    reader = _Reader(document)
    content = reader.get("contents", dict).get(name)
    if content is None:
        return None
    stored = _stored(reader, content)
    data = content.get("data")
    if not isinstance(data, bytes | type(None)):
        raise reader.damaged("data")
    return blobs.Content(stored.digest, stored.size, data, content.get("blob"))


def stored_as(contents: Mapping[str, blobs.Content]) -> Document:
    """The part of a record that names contents, and the blobs among them."""
    named: dict[str, Document] = {}
    for name, content in contents.items():
        place = {"data": content.data} if content.blob is None else {"blob": content.blob}
        named[name] = {"digest": content.digest, "size": content.size, **place}
    held = {content.blob for content in contents.values() if content.blob is not None}
    return {"contents": named, "blobs": sorted(held)}


def facts_of(metrics: Mapping[str, float], tags: Mapping[str, Any]) -> list[Document]:
    """Metrics and tags as pairs, for one index over all names."""
    return [
        *({"k": f"metric {name}", "v": value} for name, value in metrics.items()),
        *({"k": f"tag {name}", "v": value} for name, value in tags.items()),
    ]


def move_of(document: Mapping[str, Any]) -> Move:
    """Read the record of a promotion or rollback.

    Raises:
        ModelError: It has been edited.
    """
    reader = _Reader(document, "move")
    return Move(
        number=reader.get("move", int),
        kind=reader.get("kind", str),
        source=reader.maybe("from", int),
        target=reader.maybe("to", int),
        who=reader.text("who") or "",
        why=reader.text("why"),
        when=reader.get("when", datetime).replace(tzinfo=UTC),
        evidence=reader.maybe("evidence", dict) or {},
    )


def head_of(document: Mapping[str, Any]) -> Document:
    """What an alias means now: ``number``, ``moves`` and ``promotion`` of its document.

    Raises:
        ModelError: It has been edited.
    """
    reader = _Reader(document, "alias")
    return {
        "number": reader.maybe("number", int),
        "moves": reader.get("moves", int),
        "promotion": reader.maybe("promotion", int),
    }


def undone_of(document: Mapping[str, Any]) -> Document:
    """What a rollback needs of a promotion: ``move``, ``from`` and ``below``.

    Raises:
        ModelError: It has been edited, or its promotions go in a circle.
    """
    reader = _Reader(document, "move")
    move, below = reader.get("move", int), reader.maybe("below", int)
    if below is not None and below >= move:
        raise reader.damaged("below")
    return {"move": move, "from": reader.maybe("from", int), "below": below}


def _stored(reader: _Reader, content: Any) -> Stored:
    if not isinstance(content, dict):
        raise reader.damaged("contents")
    digest, size = content.get("digest"), content.get("size")
    if not isinstance(digest, str):
        raise reader.damaged("digest")
    if not isinstance(size, int) or not shapes.is_count(size):
        raise reader.damaged("size")
    return Stored(digest, size)


_SELECTED = {"version": "number", "move": "alias", "alias": "alias"}
"""The field that tells one record from another one of the same name, by the kind of record."""


class _Reader:
    """Fields of a record, each of the type that it was written with."""

    def __init__(self, document: Mapping[str, Any], kind: str = "version") -> None:
        self._document, self._kind = document, kind

    def get(self, field: str, kinds: type | tuple[type, ...]) -> Any:
        value = self._document.get(field)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.damaged(field)
        return value

    def maybe(self, field: str, kinds: type | tuple[type, ...]) -> Any:
        return None if self._document.get(field) is None else self.get(field, kinds)

    def text(self, field: str) -> str | None:
        found: str | None = self.shaped(field, shapes.is_text)
        return found

    def shaped(self, field: str, fits: Callable[[object], bool]) -> Any:
        """What a field holds, which may be nothing."""
        value = self._document.get(field)
        if value is not None and not fits(value):
            raise self.damaged(field)
        return value

    def needed(self, field: str, fits: Callable[[object], bool]) -> Any:
        """What a field holds."""
        value = self._document.get(field)
        if not fits(value):
            raise self.damaged(field)
        return value

    def alias(self, value: object) -> str:
        """The name of an alias."""
        try:
            return check_alias(value)
        except SettingsError:
            raise self.damaged("aliases") from None

    def damaged(self, field: str) -> ModelError:
        name, entity, selected = (self._document.get(each) for each in ("name", "entity", _SELECTED[self._kind]))
        path = name if entity is None else f"{name}[{entity}]"
        what = f"{path}@{selected}".encode("utf-8", "backslashreplace").decode()
        what = f"move {self._document.get('move')} of {what}" if self._kind == "move" else what
        return ModelError(
            f"the record of {what:.300} in the state database is damaged: its {field} is missing or of another type",
            "Use another version, or delete it; find out who writes to the state database.",
        )
