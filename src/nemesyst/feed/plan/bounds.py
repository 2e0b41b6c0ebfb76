"""Where chunks begin and end: every so many rows in the order of a key, as the collection was at the cutoff."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from bson import MaxKey, decode

from nemesyst.database import Reread
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.plan.key import BY_ID, EXACT, alike, least_after, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from nemesyst.feed.plan.key import Bound, Key, Query

    Find = Callable[[Mapping[str, Any]], Generator[memoryview]]

Rows = TypeVar("Rows")

_LEAST_ROWS = 64
_OF_A_SIZE = 4
"""Chunks of one size; then they double. So few rows make many chunks, which shuffle and share well, and many rows
make large ones, which read well; and where a chunk begins does not depend on how many rows there are."""
CHUNK_BYTES = 8 << 20
"""About how many bytes of documents the largest chunks have."""
_MOST_ROWS = 1 << 16
_SOON = 0.05
"""How long a chunk waits for the one before it to be read, in s, before it looks for its own bounds."""
_KEYS = 4096
"""Keys that are read at once while chunks are small: that takes less than to skip through them a chunk at a time."""


def largest(document_bytes: float) -> int:
    """Rows of the largest chunks, a power of two, for documents of a size."""
    rows = 1
    while rows * 2 * document_bytes <= CHUNK_BYTES and rows < _MOST_ROWS:
        rows *= 2
    return rows


def rows_of_chunk(chunk: int, most: int) -> int:
    """About how many documents a chunk has, by its number and the rows of the largest ones."""
    return min(most, _LEAST_ROWS << min(chunk // _OF_A_SIZE, 20))


class Bounds:
    """The bounds of chunks, found in order and no further than they are asked for; safe for several threads.

    Args:
        key: The order of rows.
        most: Rows of the largest chunks.
        find: Gives the documents of a ``find`` under the cutoff, as batches of raw BSON.
        match: A query that all rows fulfil and an index serves; None: every document is one.
        known: Bounds that are known; the last one is None when they are all.
        at_once: Whether to read the keys of all rows in one go: for a match whose index is not in the key's order,
            where each look for the next bound would sort all rows.
        steady: Whether ``find`` has read at the cutoff itself so far, so that another process finds the same bounds.
    """

    def __init__(
        self,
        key: Key,
        most: int,
        find: Find,
        *,
        match: Query | None = None,
        known: Sequence[Bound | None] = (),
        at_once: bool = False,
        steady: Callable[[], bool] = lambda: True,
    ) -> None:
        self.key, self.most = key, most
        self._find, self._match, self._at_once = find, match, at_once
        self._known: list[Bound | None] = list(known)
        self._steady, self._sure = steady, len(self._known)
        self._lock = threading.Lock()
        self._learnt = threading.Condition(self._lock)
        self._learning: set[int] = set()

    def learn(self, chunk: int, read: Callable[[Bound, int], tuple[Rows, Bound | None] | None]) -> Rows | None:
        """Read a chunk whose end is not known yet, and find its end in doing so, without a look at its keys before.

        Args:
            chunk: Its number.
            read: Gives the rows from a bound on, so many, and the bound after them (None: there are no more of its
                type); or None if it cannot.

        Returns:
            What ``read`` gave; None where the end is known, and where it cannot be found so.
        """
        with self._lock:
            self._learning.add(chunk)
            try:
                if not self._known:
                    self._known += self._more()
                while not self.complete and len(self._known) <= chunk:
                    # another thread reads the chunk before it, or is about to, and will find where this one begins
                    soon = None if len(self._known) - 1 in self._learning else _SOON
                    if not self._learnt.wait(soon):
                        break
                low = self._known[chunk] if len(self._known) == chunk + 1 else None
                if low is None or not self.key.divides(low):
                    return None
                self._lock.release()
                try:
                    found = read(low, self.rows_of(chunk))
                finally:
                    self._lock.acquire()
                if found is None:
                    return None
                rows, following = found
                if len(self._known) == chunk + 1:
                    self._known.append(following or self._of_later_type(low))
                    self._sure = len(self._known) if self._steady() else self._sure
                return rows
            finally:
                self._learning.discard(chunk)
                self._learnt.notify_all()

    def of(self, chunk: int) -> tuple[Bound, Bound | None] | None:
        """The first bound of a chunk and that of the next (None: there is no next); None after the last chunk."""
        with self._lock:
            while len(self._known) < chunk + 2 and not self.complete:
                self._known += self._more()
                if self._steady():
                    self._sure = len(self._known)
            if len(self._known) <= chunk:
                return None
            low = self._known[chunk]
            return None if low is None else (low, self._known[chunk + 1])

    def sure(self, chunk: int) -> bool:
        """Whether every process finds a chunk in the same bounds: it has them from the cutoff itself, or was told."""
        return chunk + 2 <= self._sure

    def adopt(self, bounds: Sequence[Bound]) -> None:
        """Take the bounds that all processes agree on."""
        with self._lock:
            self._known = [*bounds, None]
            self._sure = len(self._known)

    @property
    def complete(self) -> bool:
        """Whether all bounds are known."""
        return bool(self._known) and self._known[-1] is None

    def all(self) -> list[Bound]:
        """The first bounds of all chunks."""
        chunk = max(0, len(self._known) - 2)
        while self.of(chunk) is not None:
            chunk += 1
        return [bound for bound in self._known if bound is not None]

    def rows_of(self, chunk: int) -> int:
        """About how many documents a chunk has."""
        return rows_of_chunk(chunk, self.most)

    def _more(self) -> list[Bound | None]:
        """The next bound or bounds; None stands for the end."""
        if not self._known:
            return [self._first({})]
        low = self._known[-1]
        assert low is not None  # noqa: S101 - for the type: complete bounds have no more
        if not self.key.divides(low):
            return [self._of_later_type(low)]
        if self._at_once:
            every = self._every(low)
            return [*every, self._of_later_type((every or [low])[-1])]
        sizes = self._small()
        if len(sizes) > 1:
            every = self._every(low, limit=sum(sizes) + 1)
            ends = [] if len(every) == len(sizes) else [self._of_later_type((every or [low])[-1])]
            return [*every, *ends]
        found = self._first(self.key.after(low), skip=self.rows_of(len(self._known) - 1))
        if found is not None and alike(found, low):  # more rows than a chunk has are alike
            found = self._first(self.key.beyond(low))
        return [found or self._of_later_type(low)]

    def _small(self) -> list[int]:
        """Rows of the next chunks, as many as are found at once; only keys that no two rows share are counted so."""
        sizes: list[int] = []
        while self.key == BY_ID and sum(sizes) + self.rows_of(len(self._known) - 1 + len(sizes)) <= _KEYS:
            sizes.append(self.rows_of(len(self._known) - 1 + len(sizes)))
        return sizes

    def _of_later_type(self, low: Bound) -> Bound | None:
        least = least_after(type_of(low[0])) if self.key == BY_ID and self._match is None else None
        if least is not None and not isinstance(
            least, MaxKey
        ):  # ``min`` knows no types: one look at the keys, also where a type's own query scans all
            return self._first({}, least=least)
        for query in self.key.later_types(low):
            found = self._first(query)
            if found is not None:
                return found
        return None

    def _first(self, query: Query, skip: int = 0, least: Any = None) -> Bound | None:
        from_ = {} if least is None else {"min": {"_id": least}, "hint": {"_id": 1}}
        with closing(self._find({**self._command(query), **from_, "skip": skip, "limit": 1})) as found:
            for raw in found:
                return self.key.of(decode(frame(raw).document(0), EXACT))
        return None

    def _every(self, low: Bound, limit: int = 0) -> list[Bound]:
        """The bounds after ``low`` among the rows of its type; among the first so many of them."""
        while True:
            try:
                return self._walked(low, limit)
            except Reread:  # they are half read, and of a time that the server no longer has
                continue

    def _walked(self, low: Bound, limit: int) -> list[Bound]:
        bounds: list[Bound] = []
        position, chunk = 0, len(self._known) - 1
        wanted = self.rows_of(chunk)
        limited = {"limit": limit} if limit else {}
        for raw in self._find({**self._command(self.key.after(low)), **limited}):
            here = frame(raw)
            while wanted < position + here.rows:
                found = self.key.of(decode(here.document(wanted - position), EXACT))
                if not alike(found, (bounds or [low])[-1]):
                    bounds.append(found)
                wanted += self.rows_of(chunk + len(bounds))
            position += here.rows
        return bounds

    def _command(self, query: Query) -> dict[str, Any]:
        both = [part for part in (self._match, query) if part]
        return {
            "filter": {"$and": both} if len(both) > 1 else both[0] if both else {},
            "sort": self.key.sort,
            "projection": self.key.projection,
        }
