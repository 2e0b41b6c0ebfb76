"""Plans in the state database, so that every rank, and whoever resumes, sees the same chunks.

``plans`` has a document for each plan, ``plans.bounds`` the pages of its bounds after the first one, ``plans.parts``
what was seen in each chunk, and ``plans.statistics`` what was prepared from the train part; ``plans.cutoffs`` has the
cutoff of whoever was the first to bind some rows, for those who do so at the same time. Whoever stores something first
is right; the same plan of another process is then the one that is stored.

What an epoch leaves behind can be found again by reading, so it is enough that the primary has it; before a state, a
lineage or pinned rows refer to a plan, a majority of the members has it, too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import xxhash
from bson import encode

from nemesyst.database import insert_new, translated
from nemesyst.errors import AccessError, DatabaseError
from nemesyst.feed.plan.key import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bson import Timestamp

    from nemesyst.database import Connection
    from nemesyst.feed.plan.key import Bound

_FORMAT = 2
_PAGE = 1000
"""Bounds of a page."""
_TOGETHER = 120
"""How old, in s, a cutoff may be that others take over although there is no plan of it yet."""
_ATTEMPTS = 5
_USED = 3600.0
"""How often at most it is noted that a plan is in use, in s."""


@dataclass(frozen=True)
class Plan:
    """What is kept of a plan.

    Attributes:
        key: Digest of what it is a plan of, and of its cutoff.
        rows: Digest of the specification's rows; see ``Feed.rows_fingerprint``.
        time: The cutoff; None where the server knows none.
        about: Cutoff, layout, categories and more, as BSON values.
        bounds: The first bound of each chunk.
    """

    key: str
    rows: str
    time: Timestamp | None
    about: Mapping[str, Any] = field(default_factory=dict)
    bounds: Sequence[Bound] = ()

    @property
    def digest(self) -> str:
        """A digest of the bounds."""
        return digest_of_bounds(self.bounds)


@dataclass(frozen=True)
class Facts:
    """What was seen in a chunk.

    Attributes:
        rows: Rows of all parts.
        samples: Samples (rows or windows) of each part; of all rows in the first place without a split.
        digest: Digest of its decoded rows.
    """

    rows: int
    samples: tuple[int, int, int]
    digest: str


class Plans:
    """The plans of a state database; what a user may not write there is not kept, what he may not read is not found.

    Args:
        connection: The server.
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state)
        self._plans, self._bounds, self._chunks, self._statistics, self._cutoffs = (
            database[name].with_options(codec_options=EXACT)
            for name in ("plans", "plans.bounds", "plans.parts", "plans.statistics", "plans.cutoffs")
        )
        self._database = database
        self.writable = True

    def ready(self) -> None:
        """Have the collections made that the end of an epoch writes to, while there is other work to wait for.

        That takes the server some tens of ms, once in the life of a state database. What cannot be done is left to
        the end.
        """
        if not self.writable:
            return
        names = [each.name for each in (self._plans, self._chunks)]
        with suppress(DatabaseError), translated("storing a plan"):
            there = self._database.list_collection_names(filter={"name": {"$in": names}})
            for name in sorted(set(names) - set(there)):
                self._database.create_collection(name, check_exists=False)

    def latest(self, rows: str, database: str) -> Plan | None:
        """The newest plan of the same rows, with its bounds if they are all in one document; see :meth:`whole`."""
        query = {"rows": rows, "database": database, "format": _FORMAT}
        found = self._found("looking for a plan", self._plans, query, sort=[("time", -1)], limit=1)
        return None if not found else _of_head(found[0])

    def agreed(self, rows: str, database: str, now: Timestamp, holds: Callable[[Timestamp], bool]) -> Timestamp:
        """The cutoff of all who bind the same rows at about this time: that of the first of them.

        Ranks that begin together would otherwise each have a plan, a cache and a run of a pipeline of their own.

        Args:
            rows: Digest of the rows; see :class:`Plan`.
            database: Where they are.
            now: The cutoff if there is no other.
            holds: Whether nothing was written since another cutoff.
        """
        of_rows = {"_id": {"rows": rows, "database": database}}
        for _ in range(_ATTEMPTS):
            first = self._first(of_rows, now)
            if first is None or first == now:
                break
            if abs(now.time - first.time) < _TOGETHER and holds(first):
                return first
            if self._moved(of_rows, first, now):
                break
        return now

    def _first(self, of_rows: Mapping[str, Any], now: Timestamp) -> Timestamp | None:
        """The cutoff that is stored: ours if there was none; None where there is none, and ours may not be stored."""
        try:
            with translated("storing a plan"):
                stored = {"$setOnInsert": {"time": now}}
                found = self._cutoffs.find_one_and_update(of_rows, stored, upsert=True, return_document=True)
        except AccessError:
            self.writable = False
            found = next(iter(self._found("looking for a plan", self._cutoffs, of_rows)), None)
        return None if found is None else found["time"]

    def _moved(self, of_rows: Mapping[str, Any], first: Timestamp, now: Timestamp) -> bool:
        """Whether the cutoff is now ours: not if another one was faster."""
        try:
            with translated("storing a plan"):
                made = self._cutoffs.update_one({**of_rows, "time": first}, {"$set": {"time": now}})
        except AccessError:
            return True
        return bool(made.matched_count)

    def load(self, key: str) -> Plan | None:
        """A plan with its bounds; None if it is not there."""
        heads = self._found("loading a plan", self._plans, {"_id": key, "format": _FORMAT})
        return self.whole(_of_head(heads[0])) if heads else None

    def whole(self, plan: Plan) -> Plan | None:
        """A plan that :meth:`latest` has found, with all of its bounds; None if they are not there."""
        head, bounds = plan.about, list(plan.bounds)
        self._note_use(head)
        if head["chunks"] > _PAGE:
            pages = self._found("loading a plan", self._bounds, _of_plan(plan.key), sort=[("_id", 1)])
            bounds += [tuple(bound) for page in pages for bound in page["bounds"]]
        return replace(plan, bounds=bounds) if digest_of_bounds(bounds) == head["digest"] else None

    def _note_use(self, head: Mapping[str, Any]) -> None:
        """Note in a plan, once an hour at most, that it is in use: what nobody uses may be collected."""
        noted = int(head.get("used") or head["created"]) / 1000
        if time.time() - noted < _USED:
            return
        with suppress(DatabaseError), translated("storing a plan"):  # a user who may only read
            self._plans.update_one({"_id": head["_id"]}, {"$currentDate": {"used": True}})

    def save(self, plan: Plan, database: str, *, lasting: bool = True) -> bool:
        """Store a plan, if no other process has stored it; whether it is stored now.

        Args:
            plan: The plan.
            database: Where its rows are.
            lasting: Whether to wait until a majority of the members has it.
        """
        if not self.writable:
            return False
        first, *more = (
            [list(bound) for bound in plan.bounds[begin : begin + _PAGE]]
            for begin in range(0, max(len(plan.bounds), 1), _PAGE)
        )
        pages = [{"_id": {"plan": plan.key, "page": n}, "bounds": bounds} for n, bounds in enumerate(more, 1)]
        head = {
            **plan.about,
            "_id": plan.key,
            "format": _FORMAT,
            "rows": plan.rows,
            "time": plan.time,
            "database": database,
            "chunks": len(plan.bounds),
            "bounds": first,
            "digest": plan.digest,
            "created": datetime.now(UTC),
        }
        return self._insert(self._bounds, pages, lasting=lasting) and self._insert(self._plans, [head], lasting=lasting)

    def facts(self, key: str) -> dict[int, Facts]:
        """What is known of a plan's chunks."""
        found = self._found("loading a plan", self._chunks, _of_plan(key))
        return {
            int(each["_id"]["chunk"]): Facts(int(each["rows"]), _three(each["samples"]), each["digest"])
            for each in found
        }

    def add_facts(self, key: str, facts: Mapping[int, Facts], *, lasting: bool = True) -> None:
        """Store what was seen in chunks; ``lasting`` as in :meth:`save`."""
        self._insert(
            self._chunks,
            (
                {"_id": {"plan": key, "chunk": n}, "rows": f.rows, "samples": list(f.samples), "digest": f.digest}
                for n, f in facts.items()
            ),
            lasting=lasting,
        )

    def statistics(self, key: str, name: str) -> dict[str, Any] | None:
        """What was prepared from a plan's train part under a name."""
        found = self._found("loading a plan", self._statistics, {"_id": {"plan": key, "name": name}})
        return dict(found[0]["values"]) if found else None

    def add_statistics(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        """Store what was prepared."""
        self._insert(self._statistics, [{"_id": {"plan": key, "name": name}, "values": dict(values)}])

    def _found(self, doing: str, collection: Any, query: Mapping[str, Any], **options: Any) -> list[Any]:
        """Documents of ours; none for a user who may not read them."""
        try:
            with translated(doing):
                return list(collection.find(query, **options))
        except AccessError:
            return []

    def _insert(self, collection: Any, documents: Iterable[Mapping[str, Any]], *, lasting: bool = True) -> bool:
        documents = list(documents)
        if not self.writable or not documents:
            return self.writable
        try:
            insert_new(collection, documents, "storing a plan", lasting=lasting)
        except AccessError:
            self.writable = False
        return self.writable


def _of_head(head: Mapping[str, Any]) -> Plan:
    """The plan of a document of ``plans``, with those of its bounds that are in it."""
    return Plan(head["_id"], head["rows"], head["time"], head, [tuple(bound) for bound in head["bounds"]])


def _of_plan(key: str) -> dict[str, Any]:
    """What is stored under a plan's key and a number."""
    return {"_id": {"$gte": {"plan": key}, "$lt": {"plan": key + "~"}}}


def digest_of_bounds(bounds: Sequence[Bound]) -> str:
    """A digest of the first bounds of chunks."""
    hasher = xxhash.xxh3_128()
    for bound in bounds:
        hasher.update(encode({"": list(bound)}))
    return str(hasher.hexdigest())


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    train, validation, test = values
    return int(train), int(validation), int(test)
