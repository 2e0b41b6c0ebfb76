"""What the feeds of all parts share: their rows under one cutoff, the plan, the cache and what was prepared."""

from __future__ import annotations

import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.errors import FeedError
from nemesyst.feed.assemble import layout_as_dict
from nemesyst.feed.epoch import opened
from nemesyst.feed.kept import documents_of, keep_chunks
from nemesyst.feed.order import Order, Shard
from nemesyst.feed.plan.store import Plan
from nemesyst.feed.prepare import Prepared, collect_statistics, weighs
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.sampling import no_samples
from nemesyst.feed.split import PARTS
from nemesyst.feed.together import together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bson import Timestamp

    from nemesyst.database import Cutoff, Keeping
    from nemesyst.feed.augment import BatchMap
    from nemesyst.feed.binding.target import Target
    from nemesyst.feed.chunks import Chunks
    from nemesyst.feed.plan.store import Plans
    from nemesyst.feed.spec import Feed
    from nemesyst.frameworks import Layout
    from nemesyst.types import Batch

_BLOCK_BATCHES = 16
"""Batches that are shuffled together, at least."""
_BLOCK_CHUNKS = 4
"""Largest chunks that are shuffled together."""


class Binding:
    """A specification bound to rows; shared by the feeds of all parts, and by threads.

    Args:
        spec: The specification.
        target: What it is about.
        digest: Digest of what decides on rows and their arrays.
        key: Digest of that and of the cutoff: the plan's name.
        prepared: Statistics and weights that were taken before, from other rows; None: from these.
        time: The cutoff; None where the server knows none.
        cutoff: The collection under it.
        chunks: The tables.
        plans: Where plans are stored.
        keeping: Where rows are pinned.
        shard: This process's share.
        mapped: The function on batches of the train part.
        about: What else belongs to the lineage.
        most: Rows of the largest chunks.
        stored: Whether the plan is stored already.
    """

    def __init__(  # noqa: PLR0913 - one place makes it
        self,
        spec: Feed,
        target: Target,
        *,
        digest: str,
        key: str,
        prepared: Mapping[str, Any] | None,
        time: Timestamp | None,
        cutoff: Cutoff,
        chunks: Chunks,
        plans: Plans,
        keeping: Keeping,
        shard: Shard,
        mapped: BatchMap | None,
        about: dict[str, Any],
        most: int,
        stored: bool,
    ) -> None:
        self.spec, self.target, self.key, self.time = spec, target, key, time
        self.cutoff, self.chunks, self.plans, self.keeping = cutoff, chunks, plans, keeping
        self.shard, self.mapped, self.about, self.most = shard, mapped, about, most
        self._digest = digest
        self._prepared = None if prepared is None else Prepared.from_dict(prepared)
        self._lock = threading.Lock()
        self._saved, self._lasting, self._agreed = stored, stored, False

    @property
    def prepared(self) -> Prepared:
        """Scale and weights; goes through all rows when they are needed and not known."""
        self.agree()
        with self._lock:
            if self._prepared is None:
                needed = self.spec.scale is not None or weighs(self.chunks.source)
                self._prepared = self._found() if needed else Prepared()
            return self._prepared

    def _found(self) -> Prepared:
        name = f"{self.spec.scale}:{xxhash.xxh3_64_hexdigest(repr(self.spec.weight).encode())}"
        known = self.plans.statistics(self.key, name)
        if known is not None:
            return Prepared.from_dict(known)
        made = collect_statistics(self.chunks)
        self.plans.add_statistics(self.key, name, made.as_dict())
        return made

    def agree(self) -> None:
        """Settle on the chunks with the other ranks, before any is read: whoever stores a plan first is right.

        Without it, a rank that finds its bounds when the server no longer has the cutoff would cut elsewhere.

        Raises:
            FeedError: The server no longer has the cutoff, and the ranks have no place to agree in.
        """
        rows = self.chunks.source.rows
        with self._lock:
            if self._agreed or self.time is None or not isinstance(rows, LiveRows):
                return
            self._agreed = True
            history = self.cutoff.way == "history"
            if self.shard.world == 1 and history:
                return
            self.plans.save(self.plan(), self.target.place.database)
            stored = self.plans.load(self.key)
            if stored is not None:
                rows.bounds.adopt(stored.bounds)
                self.most = rows.bounds.most = int(stored.about["most"])
            elif self.shard.world > 1 and not history:
                raise FeedError(
                    f"feed of {self.spec.collection}: the ranks cannot agree on chunks: the server no longer has the "
                    "rows of the cutoff, and there is no right to write to the state database",
                    "Bind sooner (minSnapshotHistoryWindowInSeconds is 5 minutes by default), or allow writing.",
                )

    def order(self, epoch: int, part: int | None) -> Order:
        """The order of an epoch over a part's samples; only what is learnt from is shuffled."""
        rows = self.chunks.source.rows
        block = max(_BLOCK_BATCHES * self.spec.batch_size, _BLOCK_CHUNKS * self.most)
        return Order(
            epoch,
            self.spec.seed if self.spec.shuffle and part in (None, PARTS.index("train")) else None,
            self.spec.batch_size,
            block,
            rows.rows_of,
            rows.chunks,
            lambda chunk: not rows.complete or chunk < rows.chunks(),
            lambda chunk: self.chunks.count(chunk, part),
        )

    def save(self, *, lasting: bool = True) -> None:
        """Store the plan with all of its bounds, and what was seen in its chunks; ``lasting`` as in ``Plans.save``."""
        if self.time is None:
            return
        facts = partial(self.chunks.save, lasting=lasting)
        if self._saved and (self._lasting or not lasting):
            facts()
            return
        plan = self.plan()
        together(lambda: self.plans.save(plan, self.target.place.database, lasting=lasting), facts)
        self._saved, self._lasting = True, lasting

    def pin(self) -> None:
        """Keep the rows themselves with the plan."""
        self.save()
        if self.time is None or not self.plans.writable:
            raise FeedError(
                f"feed of {self.spec.collection}: its rows cannot be pinned: "
                + (
                    "the server knows no cutoff"
                    if self.time is None
                    else "there is no right to write to the state database"
                ),
                "Pinning needs a replica set, and the right to write to the state database; pin(folder) needs neither.",
            )
        rows = self.chunks.source.rows
        exact = self.spec.window is not None
        keep_chunks(self.keeping, self.key, (documents_of(rows.read(n, exact=exact)) for n in range(rows.chunks())))

    def plan(self) -> Plan:
        """The plan with all of its bounds."""
        source = self.chunks.source
        about = {
            **self.about,
            "cutoff": self.cutoff.as_dict(),
            "most": self.most,
            "layout": layout_as_dict(source.layout),
            "categories": None if source.categories is None else source.categories.as_dict(),
        }
        return Plan(self.key, self._digest, self.time, about, source.rows.all_bounds())

    @cached_property
    def batch_layout(self) -> Layout:
        """Dtype of each array of a batch, and its shape behind the rows."""
        found = self.first(1)
        if found:
            return {name: (values.dtype, values.shape[1:]) for name, values in found.items()}
        return self._layout_of_none()

    def _layout_of_none(self) -> Layout:
        """The layout where rows make no sample: because windows are longer than they last, say. Empty without rows."""
        source = self.chunks.source
        found = (source.own(chunk) for chunk in range(source.rows.chunks()))
        own = next((table for table in found if table.rows), None)
        batch = {} if own is None else self.prepared.finished(no_samples(source, own))
        return {name: (values.dtype, values.shape[1:]) for name, values in batch.items()}

    def first(self, rows: int) -> Batch:
        """The first samples of the plan, at most so many; without arrays where there is none."""
        blocks, _ = self.order(0, None).run(Shard())
        stream = opened(self.chunks, blocks, None, room=1, ids=None)
        try:
            for found in stream:
                if found.left:
                    return self.prepared.finished(found.take(min(rows, found.left)))
        finally:
            stream.close()
        return {}

    def empty(self) -> Batch:
        """A batch without rows."""
        return {name: np.empty((0, *shape), dtype) for name, (dtype, shape) in self.batch_layout.items()}

    def recorded(self) -> dict[str, Any]:
        """Specification and what was prepared, as JSON values."""
        source = self.chunks.source
        categories = None if source.categories is None else source.categories.as_dict()
        prepared = {**self.prepared.as_dict(), "categories": categories}
        return {**self.spec.as_dict(), **({"prepared": prepared} if any(prepared.values()) else {})}
