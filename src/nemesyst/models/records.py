"""What the registry's documents are: versions, and the moves of an alias."""

from __future__ import annotations

import getpass
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import blobs
from nemesyst.errors import ModelError
from nemesyst.types import Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.frameworks import Adapter

HEAVY = {"data": 0}
"""Projection that leaves the bytes of small models where they are."""


@dataclass(frozen=True)
class Move:
    """One promotion or rollback of an alias.

    Attributes:
        number: 1 for the first move of this alias; one more for each.
        kind: ``"promote"`` or ``"rollback"``.
        source: Number of the version that the alias named before, or None.
        target: Number of the version that it names since.
        who: User and machine.
        why: Reason given, or None.
        when: Time of the move (UTC, by the server's clock).
    """

    number: int
    kind: str
    source: int | None
    target: int
    who: str
    why: str | None
    when: datetime


def version_of(document: Mapping[str, Any], aliases: tuple[str, ...] = ()) -> Version:
    """Read the record of a version.

    Raises:
        ModelError: It has been edited, and lacks something or holds another type.
    """
    ref = f"{document.get('name')}@{document.get('number')}"
    feed = _typed(document, "feed", (str, type(None)), ref)
    try:
        specification = None if feed is None else json.loads(feed)
    except ValueError:
        raise _damaged(ref, "feed") from None
    size = _typed(document, "size", (int,), ref)
    if size < 0:
        raise _damaged(ref, "size")
    return Version(
        name=_typed(document, "name", (str,), ref),
        entity=_typed(document, "entity", (str, type(None)), ref),
        number=_typed(document, "number", (int,), ref),
        framework=_typed(document, "framework", (str,), ref),
        digest=_typed(document, "digest", (str,), ref),
        size=size,
        created=_typed(document, "created", (datetime,), ref).replace(tzinfo=UTC),
        metrics=_typed(document, "metrics", (dict,), ref),
        args=_typed(document, "args", (dict,), ref),
        feed=specification,
        rows=document.get("rows") or {},
        learner=document.get("learner"),
        parent=document.get("parent"),
        build=document.get("build"),
        node=document.get("node"),
        environment=document.get("environment") or {},
        aliases=aliases,
    )


def content_of(document: Mapping[str, Any], ref: str) -> blobs.Content:
    """Where the bytes of a version are.

    Raises:
        ModelError: The record has been edited.
    """
    data = document.get("data")
    if not isinstance(data, bytes | type(None)):
        raise _damaged(ref, "data")
    return blobs.Content(document["digest"], document["size"], data, document.get("blob"))


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
    )


def environment(adapter: Adapter) -> dict[str, str]:
    """Versions of what made a model."""
    return {"python": platform.python_version(), "numpy": np.__version__, adapter.name: adapter.version()}


def user() -> str:
    """Who is at work: user and machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in containers
        name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{name}@{platform.node()}"


def _typed(document: Mapping[str, Any], field: str, kinds: tuple[type, ...], ref: str) -> Any:
    value = document.get(field)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise _damaged(ref, field)
    return value


def _damaged(ref: str, field: str) -> ModelError:
    return ModelError(
        f"the record of {ref} in the state database is damaged: its {field} is missing or of another type",
        "Use another version; find out who writes to the state database.",
    )
