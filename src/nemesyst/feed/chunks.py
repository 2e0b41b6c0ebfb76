"""The sample tables of a plan's chunks: out of the cache, or read; and what was seen in them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.epoch import Whole
from nemesyst.feed.plan.store import Facts
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.sampling import samples
from nemesyst.feed.source import digest
from nemesyst.feed.split import PARTS
from nemesyst.feed.table import PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nemesyst.feed.cache import Entry
    from nemesyst.feed.plan.store import Plans
    from nemesyst.feed.sampling import Windowing
    from nemesyst.feed.source import Identify, Source
    from nemesyst.feed.table import Table

Array = np.ndarray[Any, Any]


class Chunks:
    """Tables of chunks, safe for several threads.

    Args:
        source: Where the rows come from.
        windowing: Finds windows in them; None: rows are the samples.
        entry: The plan's place in the cache; None: nothing is kept.
        plans: Where facts are stored.
        key: The plan's.
        fresh: Whether nobody has seen its chunks yet, so that no facts are looked for.
    """

    def __init__(
        self,
        source: Source,
        windowing: Windowing | None,
        entry: Entry | None,
        plans: Plans,
        key: str,
        *,
        fresh: bool = False,
    ) -> None:
        self.source, self.windowing, self.entry = source, windowing, entry
        self._plans, self._key, self._fresh = plans, key, fresh
        self._facts: dict[int, Facts] | None = {} if fresh else None
        self._new: dict[int, Facts] = {}
        self._seen: set[int] = set()
        self.changed: dict[int, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def load(self, chunk: int, visit: Callable[[Table], None] | None = None) -> Table:
        """The samples' table of a chunk; without arrays when it is empty.

        Args:
            chunk: Its number.
            visit: Called with its rows, before windows are made of them.
        """
        cached = self._cached(chunk) if visit is None else None
        if cached is not None:
            return cached
        own = self.source.own(chunk)
        if visit is not None and own.rows:
            visit(own)
        table = self.arranged(chunk, own)
        self._note(chunk, own, table)
        if self.entry is not None and table.rows and self._sure(chunk):
            self.entry.put(chunk, table)
        return table

    def _cached(self, chunk: int) -> Table | None:
        """The table out of the cache."""
        if self.entry is None or chunk not in self.entry.chunks() or not self._sure(chunk):
            return None
        return self.entry.get(chunk)

    def _sure(self, chunk: int) -> bool:
        """Whether no other process may have cut the chunk elsewhere."""
        rows = self.source.rows
        return not isinstance(rows, LiveRows) or (rows.bounds.of(chunk) is not None and rows.bounds.sure(chunk))

    def arranged(self, chunk: int, own: Table, *, ids: Identify | None = None) -> Table:
        """The samples' table out of a chunk's rows; ``ids`` as they were read with."""
        return own if self.windowing is None else self.windowing.arranged(chunk, own, ids=ids)

    def index(self, table: Table, part: int | None) -> Array:
        """Where the samples of a part (None: all) begin in a table, int64."""
        if part is None and self.windowing is None:
            return np.arange(table.rows)
        found = samples(table, part)
        return np.arange(table.rows) if found is None else found

    def count(self, chunk: int, part: int | None) -> int:
        """How many samples of a part a chunk has; it is read if nobody has yet."""
        facts = self.facts.get(chunk)
        if facts is None:
            if (cached := self._cached(chunk)) is not None:
                found = len(self.index(cached, part))
                self.release([chunk])
                return found
            self.load(chunk)
            facts = self.facts[chunk]
        if part is not None:
            return facts.samples[part]
        return facts.rows if self.windowing is None else sum(facts.samples)

    @property
    def facts(self) -> dict[int, Facts]:
        """What is known of chunks."""
        with self._lock:
            if self._facts is None:
                self._facts = self._plans.facts(self._key)
            return self._facts

    def see_all(self) -> None:
        """Read the chunks of which no facts are known."""
        for chunk in range(self.source.rows.chunks()):
            if chunk not in self.facts:
                own = self.source.own(chunk)
                self._note(chunk, own, self.arranged(chunk, own))

    @property
    def beside(self) -> Callable[[], None] | None:
        """What is to be done beside reading chunks: to find their bounds, and to make ready for what is stored."""
        rows = self.source.rows
        works = [rows.beside if isinstance(rows, LiveRows) else None, self._plans.ready if self._fresh else None]
        self._fresh = False
        due = [work for work in works if work is not None]

        def done() -> None:
            for work in due:
                work()

        return done if due else None

    def save(self, *, lasting: bool = True) -> None:
        """Store the facts that are new; ``lasting`` as in ``Plans.save``."""
        with self._lock:
            new, self._new = self._new, {}
        self._plans.add_facts(self._key, new, lasting=lasting)

    def whole(self) -> Whole | None:
        """All chunks' rows as one array each; None unless they are all in the cache and none holds texts."""
        rows = self.source.rows
        if self.entry is None or not rows.complete or (rows.chunks() and not self._sure(rows.chunks() - 1)):
            return None
        facts = self.facts
        wanted = [chunk for chunk in range(rows.chunks()) if chunk not in facts or facts[chunk].rows]
        if not self._checked(wanted) or self.entry.coded:  # what is coded is known once a chunk was looked at
            return None
        found, counts = self.entry.whole(wanted), self.entry.counts(wanted)
        if found is None or counts is None or not wanted:
            return None
        arrays, starts = found
        return Whole(
            arrays, dict(zip(wanted, starts.tolist(), strict=True)), dict(zip(wanted, counts.tolist(), strict=True))
        )

    def _checked(self, chunks: Iterable[int]) -> bool:
        """Whether the cache has these chunks; each is brought into memory for it once in a process, and goes again."""
        assert self.entry is not None  # noqa: S101 - asked for by whoever has seen it
        for chunk in chunks:
            if chunk not in self._seen:
                if self.entry.counts([chunk]) is None:
                    return False
                self.entry.release([chunk])
                self._seen.add(chunk)
        return True

    def release(self, chunks: Iterable[int]) -> None:
        """Have these chunks no longer count as this process's memory, where they lie in the cache's files."""
        if self.entry is not None:
            self.entry.release(chunks)

    def load_with_ids(self, chunk: int, ids: Identify) -> Table:
        """The samples' table with what is made of the ``_id`` of each row, always read."""
        return self.arranged(chunk, self.source.own(chunk, ids=ids), ids=ids)

    def _note(self, chunk: int, own: Table, table: Table) -> None:
        counts = [0, 0, 0]
        if table.rows and PART in table.arrays:
            counts = [int(np.count_nonzero(table.arrays[PART] == part)) for part in range(len(PARTS))]
        elif table.rows:
            counts[0] = table.rows
        seen = Facts(own.rows, (counts[0], counts[1], counts[2]), digest(own) if own.rows else "")
        known = self.facts.get(chunk)
        with self._lock:
            if known is None:
                assert self._facts is not None  # noqa: S101 - loaded by the look at what is known
                self._facts[chunk] = self._new[chunk] = seen
            elif known.digest != seen.digest:
                self.changed[chunk] = (known.digest, seen.digest)
                self._facts[chunk] = seen  # type: ignore[index]  # loaded by now
