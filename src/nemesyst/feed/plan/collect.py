"""Removing plans and kept rows that nobody has used for long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from nemesyst.database import translated
from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bson import ObjectId

    from nemesyst.database import Connection

LEAST = timedelta(hours=2)
"""Younger plans stay: that they are in use is noted once an hour."""
_DOING = "collecting old plans"
_SIZE = {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        plans: Plans, with their bounds, counts and statistics.
        sets: Sets of kept rows, also half made ones of processes that have died.
        bytes: Bytes of all that, without those of blobs.
        blobs: The blobs that the kept rows were in; others may refer to them too.
    """

    plans: int = 0
    sets: int = 0
    bytes: int = 0
    blobs: frozenset[ObjectId] = frozenset()


def collect(
    connection: Connection,
    state: str,
    *,
    older_than: timedelta,
    in_use: Collection[str] | Callable[[str], bool] = (),
    dry_run: bool = False,
) -> Collected:
    """Remove plans and kept rows that were not used for some time.

    What is pinned stays, and so does what ``in_use`` names. A feed that runs keeps what it has: a plan that it uses is
    marked, and one that was marked since it was looked at stays. Without its plan an old ``state_dict`` cannot be
    loaded any more once the server has forgotten its cutoff.

    Args:
        connection: The server.
        state: Name of the state database.
        older_than: How long they were not used, at least two hours.
        in_use: Keys of plans to keep, such as ``lineage()["plan"]`` of saved models, or what tells whether one is.
        dry_run: Only tell what would be removed.

    Raises:
        SettingsError: ``older_than`` is too short.
        AccessError: The user may not write to the state database.
    """
    if not isinstance(older_than, timedelta) or older_than < LEAST:
        raise SettingsError(f"older_than={older_than!r}", "Give a timedelta of two hours or more.")
    kept: Callable[[str], bool] = in_use if callable(in_use) else in_use.__contains__
    return _Collector(connection, state, older_than, kept, dry_run=dry_run).run()


class _Collector:
    """One run."""

    def __init__(
        self, connection: Connection, state: str, older_than: timedelta, kept: Callable[[str], bool], *, dry_run: bool
    ) -> None:
        self._connection, self._kept, self._dry = connection, kept, dry_run
        database = connection.own_database(state)
        self._plans, self._sets, self._rows, self._cutoffs = (
            database[name] for name in ("plans", "plans.kept", "plans.rows", "plans.cutoffs")
        )
        self._of_plan = [database[name] for name in ("plans.bounds", "plans.parts", "plans.statistics")]
        with translated(_DOING):
            now = connection.client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
        self._limit: datetime = now - older_than

    def run(self) -> Collected:
        with translated(_DOING):
            sets = {each["_id"]: each for each in self._sets.find() if "set" in each}
            heads = {each["_id"]: each for each in self._plans.find({}, {"created": 1, "used": 1})}
            plans, size, gone = 0, 0, []
            for key in [*heads, *(key for key in sets if key not in heads)]:
                head, kept = heads.get(key), sets.get(key)
                if not self._is_old(key, head, kept):
                    continue
                bytes_ = self._size(key)
                if self._dry or self._remove(key, head, kept):
                    plans, size = plans + (head is not None), size + bytes_
                    gone += [] if kept is None else [kept["set"]]
            living = {each["set"] for each in sets.values()} - set(gone)
            gone += self._abandoned(living | set(gone))
            blobs: set[ObjectId] = set()
            for name in gone:
                size += self._drop(name, blobs)
            if not self._dry:
                self._sets.delete_many({"expires": {"$lt": self._limit}})
                self._cutoffs.delete_many({"time": {"$lt": Timestamp(int(self._limit.timestamp()), 0)}})
        return Collected(plans, len(gone), size, frozenset(blobs))

    def _is_old(self, key: str, head: Mapping[str, Any] | None, kept: Mapping[str, Any] | None) -> bool:
        if kept is not None and kept.get("pinned", True):  # an earlier version did not tell
            return False
        times = [each[name] for each in (head, kept) if each for name in ("created", "used") if each.get(name)]
        old = bool(times) and all(time.replace(tzinfo=UTC) < self._limit for time in times)
        return old and not self._kept(key)

    def _remove(self, key: str, head: Mapping[str, Any] | None, kept: Mapping[str, Any] | None) -> bool:
        """Remove a plan and make its set invisible, unless one of them was used meanwhile."""

        def remove(session: Any) -> bool:
            for collection, seen in ((self._plans, head), (self._sets, kept)):
                if seen is None:
                    continue
                same = {name: seen.get(name, {"$exists": False}) for name in ("used", "pinned")}
                if not collection.delete_one({"_id": key, **same}, session=session).deleted_count:
                    session.abort_transaction()
                    return False
            for collection in self._of_plan:
                collection.delete_many(_pages(key), session=session)
            return True

        return self._connection.transaction(_DOING, remove)

    def _size(self, key: str) -> int:
        sizes = [_size(self._plans, {"_id": key}), _size(self._sets, {"_id": key})]
        return sum(sizes) + sum(_size(each, _pages(key)) for each in self._of_plan)

    def _abandoned(self, known: set[ObjectId]) -> Iterator[ObjectId]:
        """Sets that nobody will finish: chunks that are in none, older than the limit."""
        making = {each["making"] for each in self._sets.find({"expires": {"$gte": self._limit}})}
        name: ObjectId | None = None
        while True:  # from one name to the next, by the index
            after = {} if name is None else {"_id": {"$gte": {"set": name, "chunk": 1 << 40}}}
            found = self._rows.find_one(after, {"_id": 1}, sort=[("_id", 1)])
            if found is None:
                return
            name = found["_id"]["set"]
            if name not in known | making and name.generation_time < self._limit:
                yield name

    def _drop(self, name: ObjectId, blobs: set[ObjectId]) -> int:
        chunks = {"_id": {"$gte": {"set": name}, "$lt": {"set": name, "chunk": 1 << 40}}}
        size = _size(self._rows, chunks)
        blobs |= set(self._rows.distinct("blob", chunks))
        if not self._dry:
            self._rows.delete_many(chunks)
        return size


def _pages(key: str) -> dict[str, Any]:
    """What is stored under a plan's key and a number."""
    return {"_id": {"$gte": {"plan": key}, "$lt": {"plan": key + "~"}}}


def _size(collection: Any, query: Mapping[str, Any]) -> int:
    found = next(iter(collection.aggregate([{"$match": query}, _SIZE])), None)
    return 0 if found is None else int(found["bytes"])
