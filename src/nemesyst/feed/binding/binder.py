"""Binding: everything that can be checked without reading the rows is, then cutoff and plan are settled."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.database import Cutoff, Keeping, as_time, present_time, unchanged
from nemesyst.errors import FieldError, UnsupportedServerError
from nemesyst.feed.assemble import layout_from_dict, present
from nemesyst.feed.augment import BatchMap
from nemesyst.feed.binding.access import Approach, approach
from nemesyst.feed.binding.bound_rows import Binding
from nemesyst.feed.binding.other_side import reader_of
from nemesyst.feed.binding.target import Target
from nemesyst.feed.categories import Categories
from nemesyst.feed.chunks import Chunks
from nemesyst.feed.decode import Decoder
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.joins import Joiner
from nemesyst.feed.kept import KeptRows, first_rows, kept_bounds, materialised, wholly
from nemesyst.feed.pipeline import fill
from nemesyst.feed.plan import largest
from nemesyst.feed.plan.store import Plan, Plans
from nemesyst.feed.prepare import collect_texts, held_columns, text_fields
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.sampling import Windowing
from nemesyst.feed.source import Join, Source
from nemesyst.feed.spec import digest_of
from nemesyst.feed.together import together
from nemesyst.feed.windows import Events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bson import Timestamp

    from nemesyst.feed.binding.place import Asked, Place
    from nemesyst.feed.cache import Entry
    from nemesyst.feed.joins import Found
    from nemesyst.feed.spec import Feed

_PROBE = 1000
"""Rows from which dtypes and sizes are told."""
_PATIENCE = 0.3
"""How long it may take to find out that nothing was written since an earlier plan, in s."""


def bind_rows(place: Place, spec: Feed, asked: Asked) -> Binding:
    """Check a specification against a database, and settle its cutoff and plan.

    Raises:
        FeedError: No such collection, or a field that no document has.
        PipelineError: The server refuses the pipeline.
        UnsupportedServerError: A cutoff is asked of a server that knows no time.
    """
    binder = _Binder(place, spec, asked)
    made = binder.bound()
    if binder.known is None and made.cutoff.way in ("stream", "stamp"):
        # the bounds of the cutoff cannot be found again, so those that were stored first are everybody's
        made.save()
        if made.plans.writable:
            return _Binder(place, spec, replace(asked, as_of=None, time=binder.time)).bound()
    return made


class _Binder:
    """Binds one feed."""

    def __init__(self, place: Place, spec: Feed, asked: Asked) -> None:
        self.place, self.spec, self.asked = place, spec, asked
        self.target = Target(place, spec)
        self.plans = Plans(place.connection, place.state)
        self.keeping = Keeping(place.connection, place.state)
        if self.target.timeless and asked.as_of is not None:
            raise UnsupportedServerError(
                "as_of: a standalone server has no cluster time",
                "Run it as a replica set of one node, or leave as_of out.",
            )
        # texts that were given codes before make other arrays of the same rows
        given = (asked.prepared or {}).get("categories")
        self.digest = self.target.digest if given is None else digest_of([self.target.digest, given])
        self.found: Sequence[Found]
        self.time: Timestamp
        self.found, (self.time, settled) = together(self.target.check, self._time)
        if not settled:
            self.time = self.plans.agreed(self.digest, place.database, self.time, partial(self._holds, self.time))
        # without a cluster time there is no plan that another process could share
        moment = uuid.uuid4() if self.target.timeless else (self.time.time, self.time.inc)
        self.key = xxhash.xxh3_128_hexdigest(f"{self.digest}:{moment}".encode())
        self.known: Plan | None = self.plans.load(self.key)
        self.stages: list[Mapping[str, Any]] = self.target.stages
        if self.target.series is not None:  # what is later than the cutoff is told by its time alone
            end = datetime.fromtimestamp(self.time.time, UTC) + timedelta(seconds=1)
            self.stages = [{"$match": {self.target.series: {"$lt": end}}}, *self.stages]

    def _time(self) -> tuple[Timestamp, bool]:
        """The cutoff, and whether it is settled: if not, it is now, and other processes may have come first."""
        connection, database = self.place.connection, self.place.database
        if self.asked.time is not None:
            return as_time(self.asked.time, connection, database), True  # refuses one that this server has not reached
        if self.asked.as_of is not None:
            return as_time(self.asked.as_of, connection, database), True
        now = present_time(connection, database)
        if self.target.timeless:
            return now, True
        latest = self.plans.latest(self.digest, database)
        if latest is not None and latest.time is not None and self._holds(now, latest.time):
            return latest.time, True
        return now, False

    def _holds(self, now: Timestamp, time: Timestamp) -> bool:
        """Whether nothing was written since another cutoff."""
        place = self.place
        return unchanged(place.connection, place.database, self.target.collections, time, now, _PATIENCE)

    def bound(self) -> Binding:
        cutoff = self._cutoff(self.target.collection)
        if self.known is None:
            way, _ = together(lambda: approach(self.target), lambda: cutoff.way)  # each of them asks the server
        else:
            way = Approach.from_dict(self.known.about["access"])
        source, most = self._source(cutoff, way)
        windowing = None
        if self.spec.window is not None:
            windowing = Windowing(source, clustered=way.clustered, events=self._events(cutoff))
        about = {
            "collection": self.target.collection,
            "access": way.as_dict(),
            "held": dict(source.held),
            "joins": [each.as_dict() for each in self.found],
            "server": ".".join(map(str, self.place.connection.server.version)),
        }
        return Binding(
            self.spec,
            self.target,
            key=self.key,
            digest=self.digest,
            prepared=self.asked.prepared,
            time=None if self.target.timeless else self.time,
            cutoff=cutoff,
            chunks=Chunks(source, windowing, self._entry(), self.plans, self.key, fresh=self.known is None),
            plans=self.plans,
            keeping=self.keeping,
            shard=self.asked.shard,
            mapped=None if self.spec.map is None else BatchMap(self.spec.map),
            about=about,
            most=most,
            stored=self.known is not None,
        )

    def _cutoff(self, collection: str) -> Cutoff:
        place, known = self.place, self.known
        kept = known.about["cutoff"]["kept"] if known is not None and collection == self.target.collection else None
        return Cutoff(
            place.connection,
            place.database,
            collection,
            self.time,
            kept=kept,
            read_preference=place.read_preference,
            limit=place.limit,
        )

    def _source(self, cutoff: Cutoff, way: Approach) -> tuple[Source, int]:
        """The rows as tables, and how many rows the largest chunks have."""
        joins = [
            Join(join, Joiner(reader_of(self._cutoff(join.collection)), join, found), threading.Lock())
            for join, found in zip(self.target.joins, self.found, strict=True)
        ]
        known = self.known
        kept = self.keeping.find(self.key) if known is not None or way.whole else None
        if kept is None and way.whole:
            kept = materialised(cutoff, self.stages, self.keeping, self.key, way.access.key, why=way.whole)
        if kept is not None:
            bounds = known.bounds if known is not None else kept_bounds(self.keeping, kept, way.access.key)
            most = max(kept.rows, default=1) if known is None else int(known.about["most"])
            # the order of an epoch goes by what the plan took for the chunks' rows, also when they are pinned later
            rows = KeptRows(self.keeping, kept, bounds, None if way.whole else most)
            source = Source(self.spec, self.target.fields, rows, joins=joins)
        else:
            most = 1 if known is None else int(known.about["most"])
            source = Source(self.spec, self.target.fields, self._live(cutoff, way, most), joins=joins)
        if known is not None:
            texts = known.about["categories"]
            categories = None if texts is None else Categories.from_dict(texts)
            source.settle(layout_from_dict(known.about["layout"]), categories)
            source.held = known.about.get("held", {})
            return source, most
        raws = first_rows(source.rows, _PROBE)
        if isinstance(source.rows, LiveRows):
            documents = sum(frame(raw.batch).rows for raw in raws)
            most = largest(sum(len(raw.batch) for raw in raws) / max(documents, 1))
            source.rows.bounds.most = most
        texts = sorted({name for raw in raws for name in text_fields(source, source.columns(raw))})
        given = (self.asked.prepared or {}).get("categories")
        if given is not None:
            source.settle(categories=Categories.from_dict(given))
        elif texts:
            source.settle(categories=collect_texts(source, texts))
        source.held = held_columns(source, raws)
        source.table(raws)
        chunks = source.rows.chunks() if raws and not source.layout else 0  # the first rows were all left out
        for chunk in range(chunks):
            if source.own(chunk).rows:
                break
        return source, most

    def _live(self, cutoff: Cutoff, way: Approach, most: int) -> LiveRows:
        known = () if self.known is None else (*self.known.bounds, None)
        keeps_id = self.target.judgement.carries_id
        others = [self._cutoff(name) for name in self.target.judgement.lookups]
        return LiveRows(cutoff, self.stages, way.access, most, keeps_id=keeps_id, known=known, others=others)

    def _events(self, cutoff: Cutoff) -> Events | None:
        """Times around which windows are taken, where a pipeline gives them."""
        window = self.spec.window
        if window is None or window.anchor is None or isinstance(window.anchor, str):
            return None
        stages = fill(window.anchor, self.spec.params or {})
        names = [name for name in (window.by, window.on) if name is not None]
        decoder = Decoder(names)
        try:
            with cutoff.read(stages=[*self.target.view, *stages]) as read:
                rows = wholly(read, "Window: anchor: its stages must run as a whole")
                tables = [[present(columns, name) for name in names] for columns in map(decoder.decode, rows)]
        except FieldError as error:
            raise FieldError(
                f"Window: anchor: {error.message}", f"Its stages must yield the fields {' and '.join(names)}."
            ) from None
        if not tables:
            return Events(np.empty(0))
        arrays = [np.concatenate([table[i] for table in tables]) for i in range(len(names))]
        return Events(arrays[-1], arrays[0] if window.by is not None else None)

    def _entry(self) -> Entry | None:
        if self.place.cache is None or self.target.timeless:
            return None
        about = {
            "collection": f"{self.place.database}.{self.spec.collection}",
            "fingerprint": self.spec.fingerprint,
            "as_of": datetime.fromtimestamp(self.time.time, UTC).isoformat(),
        }
        return self.place.cache.entry(self.key, about)
