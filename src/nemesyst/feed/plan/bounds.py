"""Where chunks begin and end: every so many rows in the order of a key, as the collection was at the cutoff.

The first chunks are small and grow. Behind them a collection in the order of ``_id`` is divided into stretches, at
points that follow from the first and the last ``_id`` alone, and each stretch into chunks of the largest size. So
several threads find bounds at once, each in a stretch of its own, and all processes find the same ones.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

from nemesyst.feed.loader import read_ahead
from nemesyst.feed.plan.between import points
from nemesyst.feed.plan.key import BY_ID
from nemesyst.feed.plan.sizes import rows_of_chunk
from nemesyst.feed.plan.stretch import Found, Stretch, pass_over
from nemesyst.feed.plan.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nemesyst.feed.plan.key import Bound, Key, Query
    from nemesyst.feed.plan.stretch import Read
    from nemesyst.feed.plan.walk import Find

    Reader = Callable[[Bound, "Bound | None", int], "Read | None"]

_KEYS = 4096
"""Keys that are read at once while chunks are small: that takes less than to skip through them a chunk at a time."""
_SEEN = 2
"""Chunks of a type after which it is divided: they tell about how many rows there are."""
_AT_ONCE = 4
"""Stretches in which bounds are looked for at the same time."""
_HELD = 6
"""Chunks that may have been read before anybody asks for them."""


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

    Attributes:
        sparing: Whether as little as possible is to be read: each bound is then looked for on its own.
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
        self._walk, self._at_once = Walk(key, find, match), at_once
        self._known: list[Bound | None] = list(known)
        self._steady, self._sure = steady, len(self._known)
        self.sparing = False
        self._changed = threading.Condition()
        self._stretches = deque([Stretch(lambda: self._walk.first({}), growing=True)])
        self._numbered = 0  # chunks of the stretches that are done
        self._rows: dict[int, Any] = {}

    def learn(self, chunk: int, read: Reader) -> Any:
        """Read a chunk whose end is not known yet, and find its end in doing so, without a look at its keys before.

        Meanwhile other threads that ask for later chunks read those of the next stretches, for when they are asked for.

        Args:
            chunk: Its number.
            read: Gives the rows from a point on, up to another (None: to the end of the type), but no more than so
                many; or None if it cannot.

        Returns:
            The rows; None where the end is known, and where it cannot be found so.
        """
        with self._changed:
            while chunk not in self._rows:
                if self.complete or len(self._known) > chunk + 1:
                    return None
                self._step(read, ahead=True)
            return self._rows.pop(chunk)

    def begin(self, bounds: Sequence[Bound], rows: Sequence[Any], *, complete: bool) -> None:
        """Take the bounds of the first chunks, and the rows of these, if they are not known yet; see :meth:`learn`.

        Args:
            bounds: The bounds, as :meth:`of` would find them.
            rows: The rows of the chunks between them.
            complete: Whether these are all chunks; then there are rows for each.
        """
        with self._changed:
            if self._known or self._stretches[0].busy:
                return
            self._stretches[0].bounds += bounds
            self._rows.update(enumerate(rows))
            self._number()
            if complete:
                self._stretches.clear()
                self._known.append(None)
                self._sure = len(self._known)

    def taken(self, chunk: int) -> Any:
        """Rows of a chunk that were read already; None if there are none. They are given once."""
        with self._changed:
            rows = self._rows.pop(chunk, None)
            if rows is not None:
                self._changed.notify_all()  # there is room for others
            return rows

    def drop(self) -> None:
        """Let go of rows that were read and that nobody has asked for."""
        with self._changed:
            self._rows.clear()
            for stretch in self._stretches:
                stretch.rows.clear()

    def of(self, chunk: int) -> tuple[Bound, Bound | None] | None:
        """The first bound of a chunk and that of the next (None: there is no next); None after the last chunk."""
        with self._changed:
            while len(self._known) < chunk + 2 and not self.complete:
                self._step()
            if len(self._known) <= chunk:
                return None
            low = self._known[chunk]
            return None if low is None else (low, self._known[chunk + 1])

    def sure(self, chunk: int) -> bool:
        """Whether every process finds a chunk in the same bounds: it has them from the cutoff itself, or was told."""
        return chunk + 2 <= self._sure

    def adopt(self, bounds: Sequence[Bound]) -> None:
        """Take the bounds that all processes agree on."""
        with self._changed:
            self._stretches.clear()
            self._rows.clear()
            self._known = [*bounds, None]
            self._sure = len(self._known)

    @property
    def complete(self) -> bool:
        """Whether all bounds are known."""
        return bool(self._known) and self._known[-1] is None

    def walk(self, *, ahead: bool = False) -> None:
        """Find all bounds; ``ahead``: those of several stretches at once, with other threads that do the same."""
        with self._changed:
            while not self.complete:
                self._step(ahead=ahead)

    def all(self) -> list[Bound]:
        """The first bounds of all chunks."""
        with self._changed:
            while not self.complete and len(self._stretches) < 2:
                self._step()
        if not self.complete:
            for _ in read_ahead(lambda _: self.walk(ahead=True), range(_AT_ONCE), _AT_ONCE, _AT_ONCE):  # type: ignore[arg-type,return-value]
                pass
        return [bound for bound in self._known if bound is not None]

    def rows_of(self, chunk: int) -> int:
        """About how many documents a chunk has."""
        return rows_of_chunk(chunk, self.most)

    def _step(self, read: Reader | None = None, *, ahead: bool = False) -> None:
        """Find the next bounds of a stretch, or wait for others to; holds the lock, and lets it go meanwhile."""
        stretch = self._free(ahead=ahead, reads=read is not None)
        if stretch is None:
            self._changed.wait()
            return
        stretch.busy = True
        self._changed.release()
        try:
            found = self._looked(stretch, read)
        finally:
            self._changed.acquire()
            stretch.busy = False
            self._changed.notify_all()
        if self.complete:  # they were told meanwhile
            return
        if found.rows is not None:
            stretch.rows[max(len(stretch.bounds) - 1, 0)] = found.rows
        stretch.bounds += [bound for bound in found.bounds if bound is not None]
        stretch.done = found.done
        self._stretches += found.divided
        if found.behind is not None:
            pass_over(self._stretches, stretch, found.behind)
        if found.done and stretch is self._stretches[-1] and [*stretch.bounds, stretch.point] != [None]:
            before = stretch.bounds[0] if stretch.bounds else stretch.point
            assert before is not None  # noqa: S101 - one of them is there
            self._stretches.append(Stretch(lambda: self._walk.of_later_type(before), growing=True))
        self._number()

    def _free(self, *, ahead: bool, reads: bool) -> Stretch | None:
        """The first stretch that nobody works at, among those that are due."""
        due = [stretch for stretch in self._stretches if not stretch.done][: _AT_ONCE if ahead else 1]
        for place, stretch in enumerate(due):
            if stretch.busy or (place and stretch.growing):
                continue
            held = len(self._rows) + sum(len(each.rows) + each.busy for each in due)
            return stretch if not (place and reads and held >= _HELD) else None
        return None

    def _number(self) -> None:
        """Give numbers to the bounds of stretches before which all is known."""
        while self._stretches:
            stretch = self._stretches[0]
            self._known += stretch.bounds[stretch.told :]
            stretch.told = len(stretch.bounds)
            self._rows.update({self._numbered + place: rows for place, rows in stretch.rows.items()})
            stretch.rows.clear()
            if not stretch.done:
                break
            self._stretches.popleft()
            self._numbered = len(self._known)
            if not stretch.bounds and stretch.point is None:
                self._known.append(None)
        if self._steady():
            self._sure = len(self._known)

    def _looked(self, stretch: Stretch, read: Reader | None) -> Found:
        if not stretch.bounds:
            return self._begun(stretch, read)
        low = stretch.bounds[-1]
        if not self.key.divides(low):
            return Found(done=True)
        found = self._grown(stretch, low) if stretch.growing else None
        if found is not None:
            return found
        size = self.rows_of(len(self._known) - 1) if stretch.growing else self.most
        rows = None if read is None else read(low, stretch.high, size)
        if rows is not None:
            return Found([rows.following], rows.following is None, rows.rows)
        bound = self._walk.later(low, size, stretch.high)
        return Found([bound], bound is None)

    def _grown(self, stretch: Stretch, low: Bound) -> Found | None:
        """Several bounds at once, or stretches that it is divided into; None where neither is due."""
        chunk = len(self._known) - 1
        if self._at_once:
            return Found(self._walk.every(low, lambda: map(self.rows_of, count(chunk))), done=True)
        if len(sizes := self._small(chunk)) > 1:
            every = self._walk.every(low, lambda: map(self.rows_of, count(chunk)), limit=sum(sizes) + 1)
            return Found(every, done=len(every) < len(sizes))
        if self.rows_of(chunk) == self.most and self._walk.by_id and len(stretch.bounds) > _SEEN:
            stretch.growing = False
            divided = self._divided(stretch, low, chunk)
            return Found(divided=divided) if divided else None
        return None

    def _begun(self, stretch: Stretch, read: Reader | None) -> Found:
        """Look for the first bound of a stretch."""
        if read is not None and stretch.point is not None:
            found = read(stretch.point, stretch.high, self.most)
            if found is not None and found.first is None:
                return self._empty(stretch)
            if found is not None:
                return Found([found.first, found.following], found.following is None, found.rows)
        bound = stretch.find()
        return self._empty(stretch) if bound is None else Found([bound])

    def _empty(self, stretch: Stretch) -> Found:
        """What there is to say of a stretch without rows; ids that came in bursts leave many such beside each other."""
        return Found(done=True, behind=None if stretch.high is None else self._walk.first(self.key.after(stretch.high)))

    def _small(self, chunk: int) -> list[int]:
        """Rows of the next chunks, as many as are found at once; only keys that no two rows share are counted so."""
        sizes: list[int] = []
        room = 0 if self.sparing or self.key != BY_ID else _KEYS
        while sum(sizes) + (size := self.rows_of(chunk + len(sizes))) <= room:
            if size == self.most and self._walk.by_id:
                break  # from here on stretches do better
            sizes.append(size)
        return sizes

    def _divided(self, stretch: Stretch, low: Bound, chunk: int) -> list[Stretch]:
        """The stretches behind the bounds of one that are known."""
        last = self._walk.last(low)
        if last is None:
            return []
        known = sum(self.rows_of(chunk - 1 - back) for back in range(len(stretch.bounds) - 1)) / self.most
        found = points(stretch.bounds[0], low, last, known)
        if not found:
            return []
        stretch.high = found[0]
        return [self._between(*each) for each in zip(found, [*found[1:], None], strict=True)]

    def _between(self, point: Bound, high: Bound | None) -> Stretch:
        return Stretch(lambda: self._walk.first(self.key.rows(point, high)), point, high)
