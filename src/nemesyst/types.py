"""Small frozen records that pass between rooms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Version:
    """One stored version of a model: everything but the weights.

    Attributes:
        name: The model's name.
        entity: The device or site that the model is for, or None.
        number: 1 for the first version of this name and entity.
        framework: The adapter that wrote it, such as ``"torch"``.
        digest: BLAKE3 of the stored bytes, in hex.
        size: Stored bytes.
        created: When it became visible (UTC, by the server's clock).
        metrics: Numbers given at save time.
        args: Arguments of the build function or learner; JSON values.
        feed: The feed's specification as JSON values, or None.
        rows: Rows of each part of the feed that were read.
        learner: What trained it: function, script and all of its arguments; None if saved by hand.
        parent: Reference of the version that training went on from, or None.
        build: Name of the build function given at save time, for people; it is never imported.
        node: Name of the machine that saved it.
        environment: Versions of Python, NumPy and the framework at save time.
        aliases: Aliases that named it when the record was read.
    """

    name: str
    entity: str | None
    number: int
    framework: str
    digest: str
    size: int
    created: datetime
    metrics: Mapping[str, float] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    feed: Mapping[str, Any] | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    learner: Mapping[str, Any] | None = None
    parent: str | None = None
    build: str | None = None
    node: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

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
