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

from blake3 import blake3
from pymongo.errors import DuplicateKeyError, PyMongoError

from nemesyst.database.blobs import Blobs, Content
from nemesyst.database.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import ObjectId

    from nemesyst.database.connection import Connection

_LEASE = timedelta(seconds=20)
_RENEW = 5.0
_POLL = 0.2


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
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state)
        self._connection = connection
        self._sets, self._rows = database["plans.kept"], database["plans.rows"]
        self._stored = database["blobs"]
        self._blobs = Blobs(connection, state)

    def find(self, key: str) -> KeptSet | None:
        """The set of a plan, if it is whole."""
        with translated("looking for kept rows"):
            found = self._sets.find_one({"_id": key})
        return None if found is None else KeptSet(found["set"], tuple(found["rows"]))

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
        mine = {"$set": {"making": name, "expires": datetime.now(UTC) + _LEASE}}
        expired = {"_id": f"{key}:claim", "expires": {"$lt": datetime.now(UTC)}}
        try:
            dead = self._sets.find_one_and_update(expired, mine, upsert=True)
        except DuplicateKeyError:
            return False
        if dead is not None:
            self.drop(dead["making"])
        return True

    @contextmanager
    def at_work(self, key: str, name: ObjectId) -> Iterator[None]:
        """Hold a claim: a pipeline may take longer for its first row than a claim lasts."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_RENEW):
                mine = {"_id": f"{key}:claim", "making": name}
                with suppress(PyMongoError):  # the next time; without a claim two make one set, and one of them counts
                    self._sets.update_one(mine, {"$set": {"expires": datetime.now(UTC) + _LEASE}})

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
        digest, size = blake3(data).hexdigest(), len(data)
        with translated("keeping rows"):
            known = self._stored.find_one({"digest": digest, "size": size, "state": "ready"})
        if known is None:
            content = self._blobs.store([data], "keeping rows")
        else:
            content = Content(digest, size, blob=known["_id"])
        document: dict[str, Any] = {"_id": {"set": name, "chunk": chunk}, "digest": digest, "size": size}
        document |= {"data": content.data} if content.blob is None else {"blob": content.blob}

        def insert(session: Any) -> None:
            if content.blob is not None:
                self._blobs.touch(content.blob, session)
            self._rows.insert_one(document, session=session)

        self._connection.transaction("keeping rows", insert)

    def finish(self, key: str, name: ObjectId, rows: list[int]) -> KeptSet:
        """Make a set visible; that of another process if it came first."""
        with translated("keeping rows"):
            try:
                self._sets.insert_one({"_id": key, "set": name, "rows": rows, "created": datetime.now(UTC)})
            except DuplicateKeyError:
                self.drop(name)
            self._sets.delete_one({"_id": f"{key}:claim", "making": name})
        found = self.find(key)
        assert found is not None  # noqa: S101 - it was just stored, by us or by another
        return found

    def drop(self, name: ObjectId) -> None:
        """Remove the chunks of a set that did not become one."""
        with translated("keeping rows"):
            self._rows.delete_many({"_id": {"$gte": {"set": name}, "$lt": {"set": name, "chunk": 1 << 40}}})

    def load(self, name: ObjectId, chunk: int) -> bytes:
        """The bytes of a chunk.

        Raises:
            CorruptBlobError: They are not those that were kept.
        """
        with translated("reading kept rows"):
            found = self._rows.find_one({"_id": {"set": name, "chunk": chunk}}) or {"digest": "", "size": 0}
        content = Content(found["digest"], found["size"], found.get("data"), found.get("blob"))
        return bytes(self._blobs.load(content, f"kept rows {name}, chunk {chunk}"))
