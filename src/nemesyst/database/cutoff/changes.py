"""What became of a collection's rows since the cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.database.cutoff.ids import key_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from bson.timestamp import Timestamp

NAMED = 100
"""Ids of a kind of change that are named."""
_FIRST, _LETTERS = 3, 60
"""Of those, how many of a kind a ``repr`` shows, and how much of each."""
_DISTINCT = 100_000
"""Rows that are counted once however often they change; those above are counted at each change."""


@dataclass(frozen=True)
class Changes:
    """Rows that were inserted, updated, replaced or deleted after the cutoff, as far as is known.

    Changes of rows that were inserted after the cutoff are not counted: they are no part of it. A row that was deleted
    and inserted again is one that was deleted and one that was inserted.

    Attributes:
        inserted: Rows, each time that one came.
        updated: Rows of the cutoff.
        replaced: Rows of the cutoff.
        deleted: Rows of the cutoff, also those that expired.
        ids: The first of them, at most 100 of a kind, by the names above.
        until: Cluster time up to which all changes are known; None: none are, because no change stream can be had.
    """

    inserted: int
    updated: int
    replaced: int
    deleted: int
    ids: dict[str, list[Any]]
    until: Timestamp | None

    def __repr__(self) -> str:
        counts = ", ".join(f"{getattr(self, kind):,} {kind}" for kind in ("inserted", "updated", "replaced", "deleted"))
        first = [f"{kind} {', '.join(_shown(each) for each in ids[:_FIRST])}" for kind, ids in self.ids.items() if ids]
        known = "" if self.until is not None else ", none known"
        return f"<changes since the cutoff: {counts}{known}{'; first: ' if first else ''}{'; '.join(first)}>"


def _shown(identity: Any) -> str:
    text = repr(identity)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


class Tally:
    """Counts changes of one kind."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Any] = []
        self._keys: set[Hashable] = set()

    def add(self, identity: Any, *, distinct: bool) -> None:
        """Count a change; ``distinct``: a row that changes again counts once."""
        if distinct:
            key = key_of(identity)
            if key in self._keys:
                return
            if len(self._keys) < _DISTINCT:
                self._keys.add(key)
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(identity)
