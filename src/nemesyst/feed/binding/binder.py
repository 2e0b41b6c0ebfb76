"""Binding: everything that can be checked without reading the rows is, then cutoff and plan are settled."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import xxhash

from nemesyst.database import Cutoff, Keeping, as_time, present_time, unchanged
from nemesyst.errors import UnsupportedServerError
from nemesyst.feed.assemble import layout_from_dict
from nemesyst.feed.augment import BatchMap
from nemesyst.feed.binding.access import Approach, approach
from nemesyst.feed.binding.bound_rows import Binding
from nemesyst.feed.binding.described import describe, events
from nemesyst.feed.binding.other_side import reader_of
from nemesyst.feed.binding.target import Target
from nemesyst.feed.categories import Categories
from nemesyst.feed.chunks import Chunks
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.joins import Joiner
from nemesyst.feed.kept import KeptRows, first_rows, kept_bounds, materialised
from nemesyst.feed.plan import largest
from nemesyst.feed.plan.store import Plan, Plans
from nemesyst.feed.rows import LiveRows
from nemesyst.feed.sampling import Windowing
from nemesyst.feed.source import Join, Source
from nemesyst.feed.spec import digest_of
from nemesyst.feed.together import together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bson import Timestamp

    from nemesyst.feed.binding.place import Asked, Place
    from nemesyst.feed.cache import Entry
    from nemesyst.feed.joins import Found
    from nemesyst.feed.raws import Raw, Rows
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
    """Binds one feed; what does not depend on each other is asked of the server at the same time."""

    def __init__(self, place: Place, spec: Feed, asked: Asked) -> None:
        self.place, self.spec, self.asked = place, spec, asked
        self.plans = Plans(place.connection, place.state)
        self.keeping = Keeping(place.connection, place.state)
        if place.timeless and asked.as_of is not None:
            raise UnsupportedServerError(
                "as_of: a standalone server has no cluster time",
                "Run it as a replica set of one node, or leave as_of out.",
            )
        self.target: Target
        self.target, now = together(partial(Target, place, spec), self._now)
        # texts that were given codes before make other arrays of the same rows
        given = (asked.prepared or {}).get("categories")
        self.digest = self.target.digest if given is None else digest_of([self.target.digest, given])
        self.known: Plan | None = None
        self._at(now)
        self.found: Sequence[Found]
        self.found, settled = together(self.target.check, self._settled)
        self.begun: tuple[Cutoff, Approach, LiveRows | None, list[Raw]] | None = None
        if not settled:
            # rows that are read at a cutoff which turns out not to be everybody's are read again
            agreed, self.begun = together(self._agreed, self._begun)
            if agreed != now:
                self._at(agreed)
                self.known, self.begun = self.plans.load(self.key), None

    def _now(self) -> Timestamp:
        """The cutoff that is asked for, else that of now."""
        connection, database = self.place.connection, self.place.database
        given = self.asked.as_of if self.asked.time is None else self.asked.time
        if given is None:
            return present_time(connection, database)
        return as_time(given, connection, database)  # refuses one that this server has not reached

    def _at(self, time: Timestamp) -> None:
        """Take a cutoff."""
        self.time = time
        # without a cluster time there is no plan that another process could share
        moment = uuid.uuid4() if self.place.timeless else (time.time, time.inc)
        self.key = xxhash.xxh3_128_hexdigest(f"{self.digest}:{moment}".encode())
        self.stages: list[Mapping[str, Any]] = self.target.stages
        if self.target.series is not None:  # what is later than the cutoff is told by its time alone
            end = datetime.fromtimestamp(time.time, UTC) + timedelta(seconds=1)
            self.stages = [{"$match": {self.target.series: {"$lt": end}}}, *self.stages]

    def _settled(self) -> bool:
        """Find the plan; whether the cutoff is settled: if not, it is now, and other processes may have come first."""
        if self.place.timeless:
            return True
        if self.asked.time is not None or self.asked.as_of is not None:
            self.known = self.plans.load(self.key)
            return True
        latest = self.plans.latest(self.digest, self.place.database)
        if latest is None or latest.time is None:
            return False
        if latest.time != self.time and not self._holds(self.time, latest.time):
            return False
        self._at(latest.time)
        self.known = self.plans.whole(latest)
        return True

    def _agreed(self) -> Timestamp:
        """The cutoff of all who bind the same rows at about this time."""
        return self.plans.agreed(self.digest, self.place.database, self.time, partial(self._holds, self.time))

    def _begun(self) -> tuple[Cutoff, Approach, LiveRows | None, list[Raw]]:
        """How rows are come by where no plan says it, and the first of them, unless the pipeline runs as a whole."""
        cutoff = self._cutoff(self.target.collection)
        way = approach(self.target)
        if way.whole:
            return cutoff, way, None, []
        rows = self._live(cutoff, way, 1)
        return cutoff, way, rows, rows.first(_PROBE)

    def _holds(self, now: Timestamp, time: Timestamp) -> bool:
        """Whether nothing was written since another cutoff."""
        place = self.place
        return unchanged(place.connection, place.database, self.target.collections, time, now, _PATIENCE)

    def bound(self) -> Binding:
        cutoff, way, source, most = self._known_source() if self.known is not None else self._new_source()
        windowing = None
        if self.spec.window is not None:
            windowing = Windowing(source, clustered=way.clustered, events=events(self.target, cutoff))
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
        place, known, own = self.place, self.known, collection == self.target.collection
        made = Cutoff(
            place.connection,
            place.database,
            collection,
            self.time,
            kept=known.about["cutoff"]["kept"] if known is not None and own else None,
            read_preference=place.read_preference,
            limit=place.limit,
        )
        if own and self.target.seen is not None:
            made.see(self.target.seen)
        return made

    def _joins(self) -> list[Join]:
        return [
            Join(join, Joiner(reader_of(self._cutoff(join.collection)), join, found), threading.Lock())
            for join, found in zip(self.target.joins, self.found, strict=True)
        ]

    def _known_source(self) -> tuple[Cutoff, Approach, Source, int]:
        """The rows of a plan that is known."""
        assert self.known is not None  # noqa: S101 - asked for by whoever has seen it
        about = self.known.about
        cutoff, way = self._cutoff(self.target.collection), Approach.from_dict(about["access"])
        most = int(about["most"])
        kept = self.keeping.find(self.key)
        rows: Rows
        if kept is None and way.whole:
            kept = materialised(cutoff, self.stages, self.keeping, self.key, way.access.key, why=way.whole)
        if kept is not None:
            # the order of an epoch goes by what the plan took for the chunks' rows, also when they are pinned later
            rows = KeptRows(self.keeping, kept, self.known.bounds, None if way.whole else most)
        else:
            rows = self._live(cutoff, way, most)
        source = Source(self.spec, self.target.fields, rows, joins=self._joins())
        texts = about["categories"]
        source.settle(layout_from_dict(about["layout"]), None if texts is None else Categories.from_dict(texts))
        source.held = about.get("held", {})
        return cutoff, way, source, most

    def _new_source(self) -> tuple[Cutoff, Approach, Source, int]:
        """The rows of a plan that is new, and how many of them the largest chunks have."""
        cutoff, way, live, raws = self.begun or self._begun()
        rows: Rows
        if live is not None:
            documents = sum(frame(raw.batch).rows for raw in raws)
            most = largest(sum(len(raw.batch) for raw in raws) / max(documents, 1))
            live.begin(most)
            rows = live
        else:
            kept = self.keeping.find(self.key)
            if kept is None:
                why = way.whole or ""
                kept = materialised(cutoff, self.stages, self.keeping, self.key, way.access.key, why=why)
            most = max(kept.rows, default=1)
            rows = KeptRows(self.keeping, kept, kept_bounds(self.keeping, kept, way.access.key), None)
            raws = first_rows(rows, _PROBE)
        source = Source(self.spec, self.target.fields, rows, joins=self._joins())
        describe(source, raws, (self.asked.prepared or {}).get("categories"))
        return cutoff, way, source, most

    def _live(self, cutoff: Cutoff, way: Approach, most: int) -> LiveRows:
        known = () if self.known is None else (*self.known.bounds, None)
        keeps_id, clustered = self.target.judgement.carries_id, self.target.clustered
        return LiveRows(cutoff, self.stages, way.access, most, keeps_id=keeps_id, known=known, clustered=clustered)

    def _entry(self) -> Entry | None:
        if self.place.cache is None or self.target.timeless:
            return None
        about = {
            "collection": f"{self.place.database}.{self.spec.collection}",
            "fingerprint": self.spec.fingerprint,
            "as_of": datetime.fromtimestamp(self.time.time, UTC).isoformat(),
        }
        return self.place.cache.entry(self.key, about)
