"""Looks at the keys of a collection alone: where its rows begin and end, and which key comes so many rows later."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from bson import MaxKey, decode

from nemesyst.database import Reread
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.plan.key import BY_ID, EXACT, alike, least_after, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from nemesyst.feed.plan.key import Bound, Key, Query

    Find = Callable[[Mapping[str, Any]], Generator[memoryview]]


class Walk:
    """Finds bounds by walking over keys; safe for several threads.

    Args:
        key: The order of rows.
        find: Gives the documents of a ``find`` under the cutoff, as batches of raw BSON.
        match: A query that all rows fulfil and an index serves; None: every document is one.
    """

    def __init__(self, key: Key, find: Find, match: Query | None) -> None:
        self.key = key
        self._find, self._match = find, match

    @property
    def by_id(self) -> bool:
        """Whether every document is a row, and their order is that of ``_id``, which no two of them share."""
        return self.key == BY_ID and self._match is None

    def first(self, query: Query, **more: Any) -> Bound | None:
        """The first bound among some rows; ``skip``, ``sort`` and more as ``find`` takes them."""
        with closing(self._find({**self._command(query), **more, "limit": 1})) as found:
            for raw in found:
                return self.key.of(decode(frame(raw).document(0), EXACT))
        return None

    def later(self, low: Bound, rows: int, high: Bound | None = None) -> Bound | None:
        """The bound so many rows after one, of its type; None if there are no more up to ``high``."""
        found = self.first(self.key.rows(low, high), skip=rows)
        if found is not None and alike(found, low):  # more rows than that are alike
            return self.first(self.key.beyond(low))
        return found

    def last(self, low: Bound) -> Bound | None:
        """The last bound of a type."""
        return self.first(self.key.after(low), sort=dict.fromkeys(self.key.fields, -1))

    def of_later_type(self, low: Bound) -> Bound | None:
        """The first bound whose type comes after that of another one."""
        least = least_after(type_of(low[0])) if self.by_id else None
        if least is not None and not isinstance(
            least, MaxKey
        ):  # ``min`` knows no types: one look at the keys, also where a type's own query scans all
            return self.first({}, min={"_id": least}, hint={"_id": 1})
        for query in self.key.later_types(low):
            found = self.first(query)
            if found is not None:
                return found
        return None

    def every(self, low: Bound, sizes: Callable[[], Iterable[int]], limit: int = 0) -> list[Bound]:
        """The bounds after one among the rows of its type, no two of which share a key; among the first so many.

        Args:
            low: A bound.
            sizes: Rows of the chunk that begins there, and of those that follow.
            limit: How many keys to read; 0: all.
        """
        while True:
            try:
                return self._walked(low, sizes(), limit)
            except Reread:  # they are half read, and of a time that the server no longer has
                continue

    def _walked(self, low: Bound, sizes: Iterable[int], limit: int) -> list[Bound]:
        bounds: list[Bound] = []
        rest = iter(sizes)
        position, wanted = 0, next(rest)
        limited = {"limit": limit} if limit else {}
        for raw in self._find({**self._command(self.key.after(low)), **limited}):
            here = frame(raw)
            while wanted < position + here.rows:
                found = self.key.of(decode(here.document(wanted - position), EXACT))
                bounds.append(found)
                wanted += next(rest)
            position += here.rows
        return bounds

    def _command(self, query: Query) -> dict[str, Any]:
        both = [part for part in (self._match, query) if part]
        return {
            "filter": {"$and": both} if len(both) > 1 else both[0] if both else {},
            "sort": self.key.sort,
            "projection": self.key.projection,
        }
