"""What the registry's documents are: versions, and the moves of an alias."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs
from nemesyst.errors import ModelError
from nemesyst.types import Stored, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Read the record of a version.

    Raises:
        ModelError: It has been edited, and lacks something or holds another type.
    """
    reader = _Reader(document)
    contents = {name: _stored(reader, content) for name, content in reader.get("contents", dict).items()}
    if MODEL not in contents:
        raise reader.damaged("contents")
    text = reader.text("feed")
    try:
        feed = None if text is None else dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise reader.damaged("feed") from None
    return Version(
        name=reader.get("name", str),
        entity=reader.text("entity"),
        number=reader.get("number", int),
        framework=reader.get("framework", str),
        digest=contents[MODEL].digest,
        size=contents[MODEL].size,
        created=reader.get("created", datetime).replace(tzinfo=UTC),
        contents=contents,
        metrics=reader.get("metrics", dict),
        tags=reader.maybe("tags", dict) or {},
        text=reader.text("text"),
        args=reader.get("args", dict),
        architecture=reader.text("architecture"),
        build=reader.text("build"),
        feed=feed,
        rows=reader.maybe("rows", dict) or {},
        learner=reader.maybe("learner", dict),
        parent=reader.text("parent"),
        node=reader.text("node"),
        environment=reader.maybe("environment", dict) or {},
        seconds=reader.maybe("seconds", (int, float)),
        aliases=tuple(sorted(str(alias) for alias in reader.maybe("aliases", list) or ())),
        imported=reader.maybe("imported", dict),
        lineage_text=reader.text("lineage"),
    )


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
    """Read the record of a promotion or rollback."""
    return Move(
        number=document["move"],
        kind=document["kind"],
        source=document["from"],
        target=document["to"],
        who=document["who"],
        why=document["why"],
        when=document["when"].replace(tzinfo=UTC),
        evidence=document.get("evidence") or {},
    )


def _stored(reader: _Reader, content: Any) -> Stored:
    if not isinstance(content, dict):
        raise reader.damaged("contents")
    digest, size = content.get("digest"), content.get("size")
    if not isinstance(digest, str):
        raise reader.damaged("digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise reader.damaged("size")
    return Stored(digest, size)


class _Reader:
    """Fields of a record, each of the type that it was written with."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def get(self, field: str, kinds: type | tuple[type, ...]) -> Any:
        value = self._document.get(field)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.damaged(field)
        return value

    def maybe(self, field: str, kinds: type | tuple[type, ...]) -> Any:
        return None if self._document.get(field) is None else self.get(field, kinds)

    def text(self, field: str) -> str | None:
        found: str | None = self.maybe(field, str)
        return found

    def damaged(self, field: str) -> ModelError:
        name, entity, number = (self._document.get(each) for each in ("name", "entity", "number"))
        path = name if entity is None else f"{name}[{entity}]"
        return ModelError(
            f"the record of {path}@{number} in the state database is damaged: its {field} is missing or of another "
            "type",
            "Use another version; find out who writes to the state database.",
        )
