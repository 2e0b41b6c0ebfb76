"""Collecting blobs that nothing refers to, beside savers at work.

A blob that no document refers to is marked ``doomed`` in a transaction that looks for references, too; a saver claims a
blob in the transaction that refers to it. Both write the blob's document, so one of them is told of the other. Then the
parts go, then the document; who is killed on the way leaves a doomed blob, and the next one goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nemesyst.database.translate import translated

if TYPE_CHECKING:
    from collections.abc import Collection

    from bson import ObjectId
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from nemesyst.database.connection import Connection

    Document = dict[str, Any]

REFERENCES = {"versions": "blobs", "plans.rows": "blob", "checkpoints": "blobs"}
"""Collections whose documents refer to blobs, and the field that does; each has an index on it."""

_BATCH = 500

_AT_WORK = 60.0
"""Savers that gave a sign in so many s are at work, whatever age is asked for (they give one every 5 s): to take their
blobs away again and again would exhaust their patience."""


@dataclass(frozen=True)
class Swept:
    """What was collected, or would be.

    Attributes:
        blobs: Whole blobs.
        pending: Blobs whose saver died on the way.
        parts: Parts without a blob.
        size: Bytes of all of these.
    """

    blobs: int = 0
    pending: int = 0
    parts: int = 0
    size: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(
            self.blobs + other.blobs, self.pending + other.pending, self.parts + other.parts, self.size + other.size
        )


def sweep(connection: Connection, state: str, *, older_than: float, dry_run: bool) -> Swept:
    """Collect blobs that nothing refers to, those of dead savers, and parts without a blob.

    Args:
        connection: The server.
        state: Name of the state database.
        older_than: Blobs that were written or claimed in so many s are left alone, by the server's clock: a saver may
            be about to refer to them. Those that are still being written are left alone for a minute at least.
        dry_run: Only count.
    """
    doing = "collect unused blobs"
    connection.require_transactions(doing)
    with translated(doing):
        return _Sweeper(connection, state, older_than, dry_run=dry_run).sweep()


def release(connection: Connection, state: str, names: Collection[ObjectId]) -> Swept:
    """Delete blobs that a document has referred to until now, unless another one does.

    Those that somebody has claimed this very moment are left for :func:`sweep`.
    """
    if not names:
        return Swept()
    with translated("delete blobs"):
        return _Sweeper(connection, state, 0.0, dry_run=False).release(names)


class _Sweeper:
    def __init__(self, connection: Connection, state: str, older_than: float, *, dry_run: bool) -> None:
        self._connection, self._dry_run = connection, dry_run
        self._database: Database[Document] = connection.own_database(state)
        self._blobs, self._parts = self._database["blobs"], self._database["blobs.chunks"]
        now = self._database.command("hello")["localTime"]
        ages = {"ready": older_than, "pending": max(older_than, _AT_WORK)}
        self._old = {
            "$or": [{"state": state, "touched": {"$lt": now - timedelta(seconds=age)}} for state, age in ages.items()]
        }
        self._there = set(self._database.list_collection_names())

    def sweep(self) -> Swept:
        total = Swept()
        self._index()
        for left in self._blobs.find({"state": "doomed"}):  # by one who was killed
            total += self._remove(left)
        for batch in _batches(self._blobs.find(self._old, {"size": 1, "state": 1})):
            for blob in self._doomed({each["_id"]: each for each in batch}):
                total += self._remove(blob)
        return total + self._orphans()

    def release(self, names: Collection[ObjectId]) -> Swept:
        total = Swept()
        found = {each["_id"]: each for each in self._blobs.find({"_id": {"$in": list(names)}}, {"size": 1, "state": 1})}
        for blob in self._doomed(found):
            total += self._remove(blob)
        return total

    def _index(self) -> None:
        if "plans.rows" in self._there and not self._dry_run:
            self._database["plans.rows"].create_index("blob", sparse=True)

    def _doomed(self, found: dict[ObjectId, Document]) -> list[Document]:
        """Those of some blobs that nothing refers to, marked as doomed."""
        unused = found.keys() - self._referred(found.keys())
        if unused and not self._dry_run:
            unused = self._connection.transaction("collect unused blobs", lambda session: self._mark(unused, session))
        return [found[blob] for blob in unused]

    def _mark(self, unused: set[ObjectId], session: ClientSession) -> set[ObjectId]:
        still = unused - self._referred(unused, session)
        wanted = {**self._old, "_id": {"$in": sorted(still)}}
        still = {each["_id"] for each in self._blobs.find(wanted, {"_id": 1}, session=session)}
        if still:
            self._blobs.update_many({"_id": {"$in": sorted(still)}}, {"$set": {"state": "doomed"}}, session=session)
        return still

    def _referred(self, blobs: Any, session: ClientSession | None = None) -> set[ObjectId]:
        wanted, found = sorted(blobs), set()
        for name, field in REFERENCES.items():
            if name not in self._there and session is None:
                continue
            # what the partial index on versions asks for is implied by none of the values
            named = {"blobs.0": {"$exists": True}} if field == "blobs" else {}
            for each in self._database[name].find({field: {"$in": wanted}, **named}, {field: 1}, session=session):
                held = each[field]
                found.update(held if isinstance(held, list) else [held])
        return found

    def _remove(self, blob: Document) -> Swept:
        """Delete the parts of a doomed blob, then its document."""
        size = blob.get("size")
        if size is None:
            size = self._size({"blob": blob["_id"]})[1]
        if not self._dry_run:
            self._parts.delete_many({"blob": blob["_id"]})
            self._blobs.delete_one({"_id": blob["_id"], "state": "doomed"})
        return Swept(blobs=1, size=size) if "size" in blob else Swept(pending=1, size=size)

    def _orphans(self) -> Swept:
        """Parts of no blob: of a saver that was so slow that its blob was collected meanwhile."""
        total = Swept()
        distinct: list[Document] = [{"$sort": {"blob": 1}}, {"$group": {"_id": "$blob"}}]
        for batch in _batches(self._parts.aggregate(distinct)):
            blobs = {each["_id"] for each in batch}
            known = {each["_id"] for each in self._blobs.find({"_id": {"$in": list(blobs)}}, {"_id": 1})}
            for blob in blobs - known:
                parts, size = self._size({"blob": blob})
                total += Swept(parts=parts, size=size)
                if not self._dry_run:
                    self._parts.delete_many({"blob": blob})
        return total

    def _size(self, query: Document) -> tuple[int, int]:
        """Number and bytes of some parts."""
        count = {"$group": {"_id": None, "parts": {"$sum": 1}, "size": {"$sum": {"$binarySize": "$data"}}}}
        found = next(iter(self._parts.aggregate([{"$match": query}, count])), None)
        return (0, 0) if found is None else (int(found["parts"]), int(found["size"]))


def _batches(found: Any) -> Any:
    batch: list[Document] = []
    for each in found:
        batch.append(each)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
