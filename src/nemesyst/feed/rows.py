"""The rows of a plan's chunks as the server gives them: undecoded, under the cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bson import decode

from nemesyst.database import Reread, round_trip
from nemesyst.feed.beginning import FEW, beginning, fitting
from nemesyst.feed.carry import SOURCE_ID, carried
from nemesyst.feed.decode.decoder import Decoder
from nemesyst.feed.decode.frame import frame, split_last
from nemesyst.feed.plan import BY_ID, Bounds
from nemesyst.feed.plan.key import EXACT
from nemesyst.feed.plan.sizes import CHUNK_BYTES
from nemesyst.feed.plan.spans import spanned
from nemesyst.feed.plan.stretch import Read
from nemesyst.feed.raws import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from nemesyst.database import Cutoff
    from nemesyst.feed.plan import Bound, Key
    from nemesyst.feed.plan.key import Query

_NEAR = 1e-3
"""Round trip to a server nearby, in s, at most."""
_ALL = 1_000_000
"""Documents asked for at once: a chunk comes in one reply, unless it is larger than the server's 16 MB."""
_EXCLUDING = ("stream", "stamp")
"""The ways in which rows are read of which some are to be dropped."""


@dataclass(frozen=True)
class Access:
    """How the documents of a collection are gone through.

    Attributes:
        key: The order.
        match: The query by whose index the key goes; None: the key alone chooses.
        hint: Name of that index; None: the server chooses.
        at_once: See :class:`Bounds`.
    """

    key: Key = BY_ID
    match: Query | None = None
    hint: str | None = None
    at_once: bool = False


class LiveRows:
    """Rows of a collection, chunk by chunk, under a cutoff; safe for several threads.

    Args:
        cutoff: The collection and its cutoff.
        stages: The pipeline; each stage works on one document.
        access: How to go through the documents.
        most: Rows of the largest chunks.
        keeps_id: Whether the ``_id`` of each row is that of its document.
        known: Bounds that are known.
        clustered: Whether the collection is clustered.
    """

    def __init__(
        self,
        cutoff: Cutoff,
        stages: Sequence[Mapping[str, Any]],
        access: Access,
        most: int,
        *,
        keeps_id: bool = True,
        known: Sequence[Bound | None] = (),
        clustered: bool = False,
    ) -> None:
        self.cutoff = cutoff
        self.access = access
        self._stages = list(stages)
        self._keeps_id = keeps_id
        self._clustered = clustered
        self._first: tuple[Sequence[memoryview | bytes], bool] | None = None
        self._steady = True
        self.bounds = Bounds(
            access.key,
            most,
            self._find,
            match=access.match,
            known=known,
            at_once=access.at_once,
            steady=self._is_steady,
        )

    @property
    def complete(self) -> bool:
        """Whether it is known how many chunks there are."""
        return self.bounds.complete

    def chunks(self) -> int:
        """How many there are."""
        return len(self.bounds.all())

    def all_bounds(self) -> list[Bound]:
        """The first bound of each chunk."""
        return self.bounds.all()

    def bounds_of(self, chunk: int) -> tuple[Bound, Bound | None] | None:
        """The first bound of a chunk and that of the next (None: there is none); None after the last chunk."""
        return self.bounds.of(chunk)

    def rows_of(self, chunk: int) -> int:
        """About how many documents a chunk has."""
        return self.bounds.rows_of(chunk)

    def read(self, chunk: int, *, exact: bool = False) -> list[Raw]:
        """The rows of a chunk, in the plan's order.

        Args:
            chunk: Its number.
            exact: Whether rows of one key are to be in the order of their ``_id``.

        Raises:
            DatabaseError: They cannot be read.
        """
        self.bounds.sparing = self.cutoff.limit is not None
        learnt: list[Raw] | None = self.bounds.taken(chunk)
        if learnt is None and self.learns and not self.bounds.complete:
            learnt = self.bounds.learn(chunk, self._with_the_next)
        if learnt is not None:
            return learnt
        bounds = self.bounds.of(chunk)
        return [] if bounds is None else self.of(self.access.key.rows(*bounds), exact=exact)

    @property
    def beside(self) -> Callable[[], None] | None:
        """What is to be done while chunks are read: to find their bounds, unless that is done in reading them."""
        limited = self.cutoff.limit is not None
        return None if self.complete or self.learns or limited else self.bounds.walk

    @property
    def _plain(self) -> bool:
        """Whether the rows are all documents, in the order of ``_id``."""
        return not self._stages and self.access.match is None and self.access.key == BY_ID

    @cached_property
    def learns(self) -> bool:
        """Whether to find the end of a chunk in reading it: near a server that is cheaper than a look at its keys.

        Far from it, where each reply takes long to come, several chunks are better on their way at once.
        """
        return self._plain and round_trip(self.cutoff.connection) < _NEAR

    def _with_the_next(self, low: Bound, high: Bound | None, rows: int) -> Read | None:
        """The rows from a point on, so many, and the bound of the one after them."""
        if self.cutoff.way != "history":
            return None
        raws = self.of(self.access.key.rows(low, high), limit=rows + 1)
        if not self._steady or any(raw.kept is not None for raw in raws):
            return None
        frames = [frame(raw.batch) for raw in raws]
        first = self.access.key.of(decode(frames[0].document(0), EXACT)) if raws else None
        if sum(each.rows for each in frames) <= rows:
            return Read(raws, first, None)
        last, rest = split_last(raws[-1].batch)
        left = [*raws[:-1], *([Raw(rest)] if rest is not None else [])]
        return Read(left, first, self.access.key.of(decode(last, EXACT)))

    def first(self, most: int) -> list[Raw]:
        """The first rows, at most so many; fewer of large ones, so that they are no more than about a chunk."""
        while self.cutoff.way not in _EXCLUDING:
            try:
                with self.cutoff.read(**self._command({}, most, self.access.key.sort), first_rows=most) as read:
                    batches, all_rows = fitting(read, most)
            except Reread:
                continue
            if read.way not in _EXCLUDING:
                self._first = (batches, all_rows) if self._plain and read.way == "history" else None
                return [Raw(batch) for batch in batches]
        few = self.of({}, limit=min(most, FEW))
        size, rows = sum(len(raw.batch) for raw in few), sum(frame(raw.batch).rows for raw in few)
        more = min(most, CHUNK_BYTES * rows // max(size, 1))
        return few if rows < FEW or more <= rows else self.of({}, limit=more)

    def begin(self, most: int) -> None:
        """Fix the rows of the largest chunks; the first chunks are cut out of the first rows, if these were read."""
        self.bounds.most = most
        (batches, all_rows), self._first = self._first or ((), False), None
        made = beginning(batches, self.access.key, most, all_rows=all_rows)
        if made is not None:
            self.bounds.begin(made.bounds, [[Raw(batch)] for batch in made.rows], complete=made.complete)

    def of(self, query: Query, *, limit: int = 0, exact: bool = False) -> list[Raw]:
        """The rows of the documents that fulfil a query, in the plan's order, at most so many."""
        while True:
            try:
                return self._of(query, limit, self.access.key.exact_sort if exact else self.access.key.sort)
            except Reread:
                continue

    def _of(self, query: Query, limit: int, sort: dict[str, int]) -> list[Raw]:
        excludes = self.cutoff.way in _EXCLUDING
        command = self._command(query, limit, sort, carries=excludes)
        with self.cutoff.read(**command, first_rows=limit or _ALL) as read:
            batches = list(read)
            if read.way not in _EXCLUDING:
                return [Raw(batch) for batch in batches]
            if not excludes:  # the way has changed meanwhile: the rows may lack what tells which to drop
                raise Reread("the server no longer has the time at which they were read")
            name = "_id" if self._keeps_id or not self._stages else f"{SOURCE_ID}.id"
            return [Raw(batch, read.excluded.keep(_ids(batch, name))) for batch in batches]

    def _command(self, query: Query, limit: int, sort: dict[str, int], *, carries: bool = False) -> dict[str, Any]:
        """How the rows are read; ``carries``: with what tells which of them to drop."""
        if self.access.match is not None and not self._stages:
            query = {"$and": [self.access.match, query]}
        options = {"options": {"hint": self.access.hint}} if self.access.hint else {}
        if not self._stages:
            limited = {"limit": limit} if limit else {}
            return {"find": self._faster({"filter": query, "sort": sort, **limited}), **options}
        stages = carried(self._stages) if carries and not self._keeps_id else self._stages
        cut = [{"$limit": limit}] if limit else []
        return {"stages": [{"$match": query}, {"$sort": sort}, *stages, *cut], **options}

    def _find(self, find: Mapping[str, Any]) -> Generator[memoryview]:
        """Read bounds: as of the cutoff while the server can; later any bounds do, once they are stored."""
        find = {**find, **({"hint": self.access.hint} if self.access.hint and self.access.match else {})}
        now, first = self.cutoff.way != "history", find.get("limit", _ALL)
        with self.cutoff.read(find=self._faster(find), first_rows=first, now=now) as read:
            try:
                yield from read
            finally:
                self._steady = self._steady and read.way == "history"

    def _is_steady(self) -> bool:
        return self._steady

    def _faster(self, find: dict[str, Any]) -> dict[str, Any]:
        """The same ``find``, as a clustered collection answers it fastest."""
        if self.access.key != BY_ID or self.access.match is not None:
            return find
        return spanned(find) if self._clustered else find


def _ids(batch: memoryview, name: str) -> list[Any]:
    return Decoder([name]).decode(batch).objects(name)
