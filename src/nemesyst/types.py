"""Small frozen records that pass between rooms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from nemesyst.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import numpy as np

Batch = dict[str, "np.ndarray[Any, Any]"]
"""Named arrays whose first axis is the row."""


@dataclass(frozen=True)
class PutReport:
    """What became of the records of one ``hub.put``.

    Attributes:
        collection: Where they went.
        stored: Rows that are new in the collection.
        unchanged: Rows that were not stored, as a row with their key was there already (first write wins;
            whether the two are equal is not looked at).
        replaced: Rows that took the place of one with the same key (``on_conflict="replace"``).
        rejected: Records that could not be stored; they are in ``<collection>.rejected`` with the reason.
        seconds: Time taken, in s.
        reasons: How many records were rejected for each reason (at most 20 different ones are kept).
    """

    collection: str
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: int = 0
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Records seen."""
        return self.stored + self.unchanged + self.replaced + self.rejected


class Stored(NamedTuple):
    """One stored content of a version.

    Attributes:
        digest: BLAKE3 of its bytes, in hex.
        size: How many there are.
    """

    digest: str
    size: int


@dataclass(frozen=True)
class Version:
    """One stored version of a model: everything but the weights.

    Attributes:
        name: The model's name.
        entity: The device or site that the model is for, or None.
        number: 1 for the first version of this name and entity; never given twice.
        framework: The adapter that wrote it, such as ``"torch"``.
        digest: BLAKE3 of the model's stored bytes, in hex.
        size: Stored bytes of the model.
        created: When it became visible (UTC, by the server's clock).
        contents: What is stored: ``"model"``, and perhaps ``"optimizer"``, ``"onnx"``, ``"golden"``, ``"curves"``.
        metrics: Numbers given at save time.
        tags: Given at save time: text, numbers, booleans or None by name.
        text: What the model is for, or None.
        args: Arguments of the build function or architecture; JSON values.
        architecture: Name of the registered architecture, or None.
        build: Name of the build function given at save time, for people; it is never imported.
        feed: The feed's specification as JSON values, or None.
        rows: Rows of each part of the feed that were read.
        learner: What trained it: function, script and all of its arguments; None if saved by hand.
        parent: Reference of the version that training went on from, or None.
        node: Name of the machine that saved it.
        environment: Versions of Python and the packages, platform, processor and threads at save time.
        seconds: Time that training took, in s, or None.
        aliases: Aliases that named it when the record was read.
        imported: Of a version that came in a file: its reference and time where it was made; else None.
        lineage_text: Where its rows come from, as JSON text, or None; see :attr:`lineage`.
    """

    name: str
    entity: str | None
    number: int
    framework: str
    digest: str
    size: int
    created: datetime
    contents: Mapping[str, Stored] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    build: str | None = None
    feed: Mapping[str, Any] | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    learner: Mapping[str, Any] | None = None
    parent: str | None = None
    node: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    aliases: tuple[str, ...] = ()
    imported: Mapping[str, Any] | None = None
    lineage_text: str | None = field(default=None, repr=False)

    @cached_property
    def lineage(self) -> Mapping[str, Any] | None:
        """Where its rows come from: what ``feed.lineage()`` gave at save time; None where there was no feed.

        Raises:
            ModelError: It is no longer what was saved.
        """
        try:
            return None if self.lineage_text is None else _lineage(self.lineage_text)
        except ValueError:
            raise ModelError(
                f"the record of {self.ref} in the state database is damaged: its lineage is none",
                "Use another version, or delete it; find out who writes to the state database.",
            ) from None

    @property
    def path(self) -> str:
        """Name and entity, such as ``"air[site12]"``."""
        return self.name if self.entity is None else f"{self.name}[{self.entity}]"

    @property
    def ref(self) -> str:
        """The reference that always means this version, such as ``"air[site12]@3"``."""
        return f"{self.path}@{self.number}"

    def __str__(self) -> str:
        return self.ref


_DEEPEST = 100


def json_object(text: str) -> dict[str, Any]:
    """Read JSON text that holds an object, nested at most 100 deep, without halves of characters.

    Raises:
        ValueError: It holds something else.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(text[:80]) from None
    if not isinstance(found, dict):
        raise ValueError(text[:80])  # noqa: TRY004 - a wrong type is a wrong text here
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        inner = [value for each in level for value in (each.values() if isinstance(each, dict) else each)]
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            break
    else:
        raise ValueError(text[:80])
    if "\\u" in text:
        json.dumps(found, ensure_ascii=False).encode()  # raises UnicodeEncodeError, which is a ValueError
    return found


def _lineage(text: str) -> dict[str, Any]:
    """A lineage whose ``rows``, ``as_of`` and ``collections`` can be read.

    Raises:
        ValueError: It is something else.
    """
    found = json_object(text)
    rows, moment, names = (found.get(name) for name in ("rows", "as_of", "collections"))
    if rows is not None and not (isinstance(rows, dict) and all(_whole(count, 2**63) for count in rows.values())):
        raise ValueError(rows)
    if moment is not None and not (
        isinstance(moment, list) and len(moment) == 2 and all(_whole(part, 2**32) for part in moment)
    ):
        raise ValueError(moment)
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(names)
    return found


def _whole(value: object, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end
