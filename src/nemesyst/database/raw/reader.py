"""The reader that the rest of the library uses."""

from __future__ import annotations

import threading
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from nemesyst.database import stopping
from nemesyst.database.raw.ahead import Ahead
from nemesyst.database.raw.allocator import keep_large_blocks
from nemesyst.database.raw.cursor import ServerCursor
from nemesyst.database.raw.reply import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from bson.timestamp import Timestamp
    from pymongo.client_session import ClientSession

    from nemesyst.database.connection import Connection

FIRST_ROWS = 256
"""Documents of the first reply, from which the size of the others is told."""


class RawReader:
    """Undecoded batches of documents, each a ``memoryview`` of a BSON array (keys "0", "1", ...), none of them empty.

    It can be read once, and closes itself at the end, on ``break`` and on an exception; use it as a context manager
    where it may stay unread. The server's cursor stays on the member of the replica set that opened it.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection or view.
        stages: An aggregation pipeline.
        find: Instead of a pipeline: fields of a ``find`` (``filter``, ``min``, ``max``, ``hint``, ``sort``,
            ``projection`` ...) as the server names them. Without both, everything is found in natural order.
        options: Further fields of the command, as the server names them (``hint``, ``collation``, ``let`` ...).
        batch_bytes: About how many bytes a batch shall have; the server's limit is 16 MB. By default 1 MB from a
            server nearby, up to 12 MB from a distant one, which waits a round trip for each.
        first_rows: Documents of the first batch, which tells how large they are.
        ahead: How many batches a thread reads in advance; 0 reads when asked.
        session: A session of the driver to read in, which stays the caller's; none: one for this reader. One that was
            started with ``snapshot=True`` reads at its time.
        comment: What the server's log and ``currentOp`` show.
        read_concern: A read concern, such as ``{"level": "snapshot"}``; the connection's own if None.
        read_preference: One of the driver's read preferences; the connection's own if None.

    Attributes:
        rows: Documents that the next reply is asked for: a good ``first_rows`` for a reader of the same documents.
        time: Cluster time of a snapshot read, once the first batch is there; None for others.

    While it is read, it raises ``UnreachableError`` when the server is gone, ``AccessError`` for a missing right and
    ``DatabaseError`` for the rest.
    """

    def __init__(  # noqa: PLR0913 - keywords, all of them optional
        self,
        connection: Connection,
        database: str,
        collection: str,
        *,
        stages: Sequence[Mapping[str, Any]] = (),
        find: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        batch_bytes: int | None = None,
        first_rows: int = FIRST_ROWS,
        ahead: int = 0,
        session: ClientSession | None = None,
        comment: Any = None,
        read_concern: Mapping[str, Any] | None = None,
        read_preference: Any = None,
    ) -> None:
        keep_large_blocks()
        concern = read_concern or _concern(connection, session)
        command = {
            **_command(collection, stages, find),
            **({} if comment is None else {"comment": comment}),
            **({"readConcern": dict(concern)} if concern else {}),
            **(options or {}),
        }
        self._reading = _Reading(ServerCursor(connection, database, command, session, read_preference), ahead)
        self._sizes = (first_rows, batch_bytes)
        self._used = False
        # what is finalised must not hold this object, and neither must the thread
        self._finalizer = weakref.finalize(self, _abandon, self._reading)

    @property
    def rows(self) -> int:
        """Documents that the next reply is asked for."""
        return self._reading.cursor.rows or self._sizes[0]

    @property
    def time(self) -> Timestamp | None:
        """Cluster time of a snapshot read, once the first batch is there; None for others."""
        return self._reading.cursor.time

    def __iter__(self) -> Iterator[memoryview]:
        if self._used:
            raise RuntimeError("a RawReader is read once; make another one")
        self._used = True
        stopper = stopping.current()
        try:
            with stopper.reading(self._reading.cursor.close) if stopper else nullcontext():
                batch = self._reading.first(*self._sizes)
                while batch is not None:
                    if len(batch) > EMPTY:
                        yield batch
                    batch = self._reading.next()
        finally:
            self.close()

    def close(self) -> None:
        """Close the cursor on the server, end the thread and give the session back; any number of times."""
        self._used = True
        self._finalizer.detach()
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Reading:
    """A cursor and the thread that may read it."""

    def __init__(self, cursor: ServerCursor, depth: int) -> None:
        self.cursor = cursor
        self._depth = depth
        self._ahead: Ahead | None = None

    def first(self, rows: int, target: int | None) -> memoryview | None:
        # in the caller's thread, which Ctrl-C interrupts: a pipeline that sorts may take long until its first reply
        batch = self.cursor.first(rows, target)
        if self._depth and self.cursor.open:
            self._ahead = Ahead(self.cursor, self._depth)
        return batch

    def next(self) -> memoryview | None:
        return self._ahead.next() if self._ahead else self.cursor.more()

    def close(self) -> None:
        if self._ahead:
            self._ahead.stop()
        self.cursor.close()  # a reply that the thread waits for ends with it
        if self._ahead:
            self._ahead.join()
        self.cursor.end()


def _abandon(reading: _Reading) -> None:
    """Close what was dropped without being closed.

    Garbage is collected anywhere, also where this thread holds one of the driver's locks; so elsewhere, unless the
    interpreter exits.
    """
    if threading.main_thread().is_alive():
        threading.Thread(target=reading.close, name="nemesyst-raw-close", daemon=True).start()
    else:
        reading.close()


def _command(collection: str, stages: Sequence[Mapping[str, Any]], find: Mapping[str, Any] | None) -> dict[str, Any]:
    if stages and find is not None:
        raise ValueError("give stages or find, not both")
    if stages:
        return {"aggregate": collection, "pipeline": list(stages), "allowDiskUse": True}
    return {"find": collection, **(find or {})}


def _concern(connection: Connection, session: ClientSession | None) -> Mapping[str, Any]:
    """The read concern that the driver's own reads would have; to a snapshot session it adds that itself."""
    return {} if session is not None and session.options.snapshot else connection.client.read_concern.document
