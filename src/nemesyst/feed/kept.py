"""Rows that are kept in the state database: of a pipeline that must run as a whole, or pinned."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from bson import ObjectId, decode

from nemesyst.database import Reread
from nemesyst.errors import AccessError, FeedError
from nemesyst.feed.decode.frame import array_of, frame
from nemesyst.feed.judging import drawn_from_all
from nemesyst.feed.plan import Key, largest
from nemesyst.feed.plan.key import EXACT
from nemesyst.feed.plan.key import alike as alike_bounds
from nemesyst.feed.plan.sizes import rows_of_chunk
from nemesyst.feed.raws import Raw
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.sorting import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from nemesyst.database import Cutoff, CutoffRead, Keeping, KeptSet
    from nemesyst.feed.plan import Bound
    from nemesyst.feed.raws import Rows

_Taken = TypeVar("_Taken")


class KeptRows:
    """Rows of a kept set, chunk by chunk.

    Args:
        keeping: Where the rows are.
        kept: The set.
        bounds: First bound of each chunk.
        most: Rows of the largest chunks of the plan whose rows were pinned; None: the chunks were made as they are.
    """

    def __init__(self, keeping: Keeping, kept: KeptSet, bounds: Sequence[Bound], most: int | None = None) -> None:
        self._keeping, self._kept, self._most = keeping, kept, most
        self._bounds = list(bounds)

    @property
    def complete(self) -> bool:
        """Whether it is known how many chunks there are: always."""
        return True

    def chunks(self) -> int:
        """How many there are."""
        return len(self._bounds)

    def rows_of(self, chunk: int) -> int:
        """About how many rows a chunk has, as it was when the plan was made."""
        return self._kept.rows[chunk] if self._most is None else rows_of_chunk(chunk, self._most)

    def all_bounds(self) -> list[Bound]:
        """The first bound of each chunk."""
        return list(self._bounds)

    def bounds_of(self, chunk: int) -> tuple[Bound, Bound | None] | None:
        """The first bound of a chunk and that of the next."""
        if chunk >= len(self._bounds):
            return None
        return self._bounds[chunk], self._bounds[chunk + 1] if chunk + 1 < len(self._bounds) else None

    def read(self, chunk: int, *, exact: bool = False) -> list[Raw]:  # noqa: ARG002 - they are kept in exact order
        """The rows of a chunk."""
        return [Raw(self._keeping.load(self._kept.name, chunk))] if self._kept.rows[chunk] else []


def keep_chunks(keeping: Keeping, key: str, chunks: Iterable[Sequence[bytes]], *, pinned: bool = True) -> KeptSet:
    """Keep the documents of each chunk under a plan's key, unless another process has.

    Args:
        keeping: Where to.
        key: The plan's.
        chunks: The documents of each chunk; only taken if they are to be kept.
        pinned: Whether they are kept until they are taken back; otherwise they may go when nobody has used them for
            long.
    """
    name, rows = ObjectId(), []
    found = keeping.claim(key, name)
    if found is not None:
        if pinned:
            keeping.pin(key)
        return found
    try:
        with keeping.at_work(key, name):
            for number, documents in enumerate(chunks):
                keeping.store(name, number, array_of(documents))
                rows.append(len(documents))
    except BaseException:
        keeping.drop(name)
        keeping.give_up(key, name)
        raise
    return keeping.finish(key, name, rows, pinned=pinned)


def documents_of(raws: Iterable[Raw]) -> list[bytes]:
    """The documents of a chunk that were there at the cutoff."""
    found: list[bytes] = []
    for raw in raws:
        here = frame(raw.batch)
        kept = range(here.rows) if raw.kept is None else np.flatnonzero(raw.kept).tolist()
        found += [here.document(row) for row in kept]
    return found


def cut_documents(
    batches: Iterable[memoryview], most: Callable[[float], int], alike: Callable[[bytes, bytes], bool]
) -> Iterator[list[bytes]]:
    """Documents in chunks of the usual sizes.

    Args:
        batches: BSON arrays of documents.
        most: Documents of the largest chunks, for documents of a size in bytes.
        alike: Whether two neighbours must stay together.
    """
    held: list[bytes] = []
    number, largest = 0, 0
    for batch in batches:
        here = frame(batch)
        largest = largest or most(len(batch) / here.rows)
        for row in range(here.rows):
            document = here.document(row)
            if len(held) >= rows_of_chunk(number, largest) and not alike(held[-1], document):
                yield held
                number, held = number + 1, []
            held.append(document)
    if held:
        yield held


def same_key(key: Key | None) -> Callable[[bytes, bytes], bool]:
    """Whether two documents have one key; None: they never do."""

    def alike(one: bytes, other: bytes) -> bool:
        return key is not None and alike_bounds(key.of(decode(one, EXACT)), key.of(decode(other, EXACT)))

    return alike


def materialised(
    cutoff: Cutoff,
    stages: Sequence[Mapping[str, Any]],
    keeping: Keeping,
    key: str,
    order: Key,
    *,
    why: str,
) -> KeptSet:
    """Run a pipeline once as a whole, and keep its rows under a plan's key, unless another process has.

    Args:
        cutoff: The collection and its cutoff.
        stages: The pipeline.
        keeping: Where rows are kept.
        key: The plan's.
        order: In which order; rows of one key stay together, unless it is ``_id``, which a ``$sort`` replaces.
        why: Why it must run as a whole.

    Raises:
        FeedError: The server no longer has the rows of the cutoff.
        AccessError: The user may not write to the state database.
    """
    what = f"feed of {cutoff.collection}: its pipeline must run as a whole: {why}"
    if cutoff.way == "history":
        stages = drawn_from_all(stages)

    def documents() -> Iterator[list[bytes]]:
        with cutoff.read(stages=ordered(stages, order), options={"allowDiskUse": True}) as read:
            rows = wholly(read, what)
            yield from cut_documents(rows, largest, same_key(None if order == Key() else order))

    while True:
        try:
            return keep_chunks(keeping, key, documents(), pinned=False)
        except Reread:  # a cursor broke off half way, or the history ended: then the next read says so
            continue
        except AccessError as error:
            if "keeping rows" not in error.message:
                raise
            raise AccessError(
                f"{what}; its rows are then kept in the state database {keeping.state}, and the user has no right to "
                f"write there ({error.message.partition(': ')[2]})",
                f"Ask for the role readWrite on {keeping.state}, or name a database of your own: NEMESYST_STATE=... or "
                "nm.connect(state=...).",
            ) from error


def wholly(read: CutoffRead, what: str) -> Iterator[memoryview]:
    """What a read gives, if the server still has the rows as they were at the cutoff: nothing can be left out of it.

    Raises:
        FeedError: It has not.
    """
    for batch in chain(read, [None]):  # which way the read went is known with its first batch, or at its end
        if read.way in ("stream", "stamp"):
            raise FeedError(
                f"{what}; and the server no longer has the rows as they were at the cutoff",
                "Bind it within minSnapshotHistoryWindowInSeconds of the cutoff (5 minutes by default), or as of now.",
            )
        if batch is not None:
            yield batch


def all_of(
    cutoff: Cutoff, stages: Sequence[Mapping[str, Any]], taken: Callable[[memoryview], _Taken], what: str
) -> list[_Taken]:
    """What is taken of each batch of a pipeline's rows at the cutoff; from the start again where a read broke off.

    Raises:
        FeedError: The server no longer has them as they were.
    """
    while True:
        try:
            with cutoff.read(stages=stages) as read:
                return [taken(batch) for batch in wholly(read, what)]
        except Reread:
            continue


def kept_bounds(keeping: Keeping, kept: KeptSet, key: Key) -> list[Bound]:
    """The bounds of a kept set: of a window's key, else by number alone."""
    if key == Key():
        return [(number,) for number in range(len(kept.rows))]
    firsts = (frame(keeping.load(kept.name, number)).document(0) for number in range(len(kept.rows)))
    return [key.of(decode(first, EXACT)) for first in firsts]


def first_rows(rows: Rows, limit: int) -> list[Raw]:
    """The first rows, at least so many if there are."""
    if isinstance(rows, LiveRows):
        return rows.first(limit)
    found: list[Raw] = []
    for chunk in range(rows.chunks()):
        found += rows.read(chunk)
        limit -= rows.rows_of(chunk)
        if limit <= 0:
            break
    return found
