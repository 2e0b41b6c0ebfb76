"""Sets of rows kept in the state database: bytes by chunk, each content stored once however many sets have it.

``plans.kept`` has a document for each set that is whole, ``plans.rows`` one for each of its chunks, whose bytes are in
it or in a blob.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from nemesyst.database.blobs import Blobs, CollectedError, Content
from nemesyst.database.translate import translated
from nemesyst.errors import AccessError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.database.connection import Connection

_LEASE = 20_000
"""How long a claim lasts, in ms, by the server's clock: those of machines differ."""
_RENEW = 5.0
_POLL = 0.2
USED = timedelta(hours=1)
"""How often at most it is noted that a set is in use."""


@dataclass(frozen=True)
class KeptSet:
    """A set of rows that is whole.

    Attributes:
        name: Of the set's chunks.
        rows: Rows of each chunk.
    """

    name: ObjectId
    rows: tuple[int, ...]


class Keeping:
    """The kept sets of a state database.

    Args:
        connection: The server.
        state: Name of the state database.

    Attributes:
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state)
        self.state = state
        self._connection = connection
        self._names: dict[ObjectId, tuple[str, datetime]] = {}
        self._sets, self._rows = database["plans.kept"], database["plans.rows"]
        self._blobs = Blobs(connection, state)

    def find(self, key: str) -> KeptSet | None:
        """The set of a plan, if it is whole; None also for a user who may not look."""
        try:
            with translated("looking for kept rows"):
                found = self._sets.find_one({"_id": key})
        except AccessError:
            return None
        if found is None:
            return None
        self._names[found["set"]] = key, found.get("used") or found["created"].replace(tzinfo=UTC)
        self._note_use(found["set"])
        return KeptSet(found["set"], tuple(found["rows"]))

    def _note_use(self, name: ObjectId) -> None:
        """Note in the set, now and then, that it is in use: what nobody uses may be collected."""
        key, noted = self._names.get(name, (None, None))
        now = datetime.now(UTC)
        if key is None or noted is None or now - noted.replace(tzinfo=UTC) < USED:
            return
        self._names[name] = key, now
        with suppress(PyMongoError):  # a user who may only read
            self._sets.update_one({"_id": key, "set": name}, {"$currentDate": {"used": True}})

    def claim(self, key: str, name: ObjectId) -> KeptSet | None:
        """The set of a plan, if it is there; else become the one who makes it. Waits while another one does.

        Args:
            key: The plan's.
            name: Of the chunks that would be stored; those of one who died at it are removed.
        """
        while (found := self.find(key)) is None:
            with translated("keeping rows"):
                if self._claimed(key, name):
                    break
                time.sleep(_POLL)
        return found

    def _claimed(self, key: str, name: ObjectId) -> bool:
        free = {"$lt": [{"$ifNull": ["$expires", datetime.fromtimestamp(0, UTC)]}, "$$NOW"]}
        mine = {"making": name, "dead": "$making", "expires": {"$add": ["$$NOW", _LEASE]}}
        taken: list[dict[str, Any]] = [{"$replaceWith": {"$cond": [free, {"_id": f"{key}:claim", **mine}, "$$ROOT"]}}]
        try:
            found: Any = self._sets.find_one_and_update(
                {"_id": f"{key}:claim"}, taken, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            return False
        if found["making"] != name:
            return False
        if "dead" in found:
            self.drop(found["dead"])
        return True

    @contextmanager
    def at_work(self, key: str, name: ObjectId) -> Iterator[None]:
        """Hold a claim: a pipeline may take longer for its first row than a claim lasts."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_RENEW):
                mine = {"_id": f"{key}:claim", "making": name}
                with suppress(PyMongoError):  # the next time; without a claim two make one set, and one of them counts
                    self._sets.update_one(mine, [{"$set": {"expires": {"$add": ["$$NOW", _LEASE]}}}])

        thread = threading.Thread(target=renew, name="nemesyst-keeping", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def give_up(self, key: str, name: ObjectId) -> None:
        """Let another one make it."""
        with translated("keeping rows"):
            self._sets.delete_one({"_id": f"{key}:claim", "making": name})

    def store(self, name: ObjectId, chunk: int, data: bytes) -> None:
        """Keep a chunk of a set that is being made."""
        for anew in (False, True):
            try:
                self._keep(name, chunk, self._blobs.store([data], "keeping rows", anew=anew))
            except CollectedError:  # an equal content was there, and was collected before the chunk named it
                if anew:
                    raise
            else:
                return

    def _keep(self, name: ObjectId, chunk: int, content: Content) -> None:
        """Name a content as that of a chunk."""
        document: dict[str, Any] = {"_id": {"set": name, "chunk": chunk}}
        document |= {"digest": content.digest, "size": content.size}
        document |= {"data": content.data} if content.blob is None else {"blob": content.blob}

        def insert(session: Any) -> None:
            if content.blob is not None:
                self._blobs.touch(content.blob, session)
            self._rows.insert_one(document, session=session)

        self._connection.transaction("keeping rows", insert)

    def finish(self, key: str, name: ObjectId, rows: list[int], *, pinned: bool) -> KeptSet:
        """Make a set visible, unless the claim was lost: then its chunks may be gone, and another one makes the set.

        Args:
            key: The plan's.
            name: Of the chunks that were stored.
            rows: Rows of each chunk.
            pinned: Whether the set stays until somebody takes it back.

        Raises:
            DatabaseError: The claim was lost, and who took it did not make the set either.
        """
        document = {"_id": key, "set": name, "rows": rows, "created": datetime.now(UTC), "pinned": pinned}

        def insert(session: Any) -> bool:
            mine = {"_id": f"{key}:claim", "making": name}
            if not self._sets.delete_one(mine, session=session).deleted_count:
                return False
            self._sets.insert_one(document, session=session)
            return True

        if not self._connection.transaction("keeping rows", insert):
            self.drop(name)
            again = ObjectId()
            if (found := self.claim(key, again)) is not None:
                return found
            self.give_up(key, again)
            raise DatabaseError(
                "keeping rows: this process stood still for so long that others took it for dead", "Run it again."
            )
        found = self.find(key)
        assert found is not None  # noqa: S101 - it was just stored
        return found

    def pin(self, key: str) -> None:
        """Let a set stay until somebody takes it back."""
        with translated("keeping rows"):
            self._sets.update_one({"_id": key, "pinned": False}, {"$set": {"pinned": True}})

    def drop(self, name: ObjectId) -> None:
        """Remove the chunks of a set that did not become one."""
        with translated("keeping rows"):
            self._rows.delete_many({"_id": {"$gte": {"set": name}, "$lt": {"set": name, "chunk": 1 << 40}}})

    def load(self, name: ObjectId, chunk: int) -> bytes:
        """The bytes of a chunk.

        Raises:
            CorruptBlobError: They are not those that were kept.
        """
        self._note_use(name)
        with translated("reading kept rows"):
            found = self._rows.find_one({"_id": {"set": name, "chunk": chunk}}) or {"digest": "", "size": 0}
        content = Content(found["digest"], found["size"], found.get("data"), found.get("blob"))
        return bytes(self._blobs.load(content, f"kept rows {name}, chunk {chunk}"))
