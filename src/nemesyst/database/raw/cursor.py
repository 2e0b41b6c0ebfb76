"""A cursor on the server, read by commands whose replies stay undecoded."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from nemesyst.database import stopping
from nemesyst.database.raw.pin import Pin
from nemesyst.database.raw.reply import Reply, cut
from nemesyst.database.translate import redact, translated
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bson.timestamp import Timestamp
    from pymongo.client_session import ClientSession

    from nemesyst.database.connection import Connection

_WHOLE = CodecOptions(document_class=RawBSONDocument)
_MOST = 1_000_000  # documents asked for at once; the server sends at most 16 MB of them
_NEAR, _FAR = 1 << 20, 12 << 20  # bytes of a reply from a server beside us, and at most (16 MB is the server's limit)
_PER_SECOND = 2e9  # bytes asked for per s of round trip: the network then takes about a fifth of the time
_CLOSING = 5.0  # s that the server has to close the cursor
_GONE = {43, 175, 237}  # CursorNotFound, QueryPlanKilled, CursorKilled
_TOO_OLD = {239, 246}  # SnapshotTooOld, SnapshotUnavailable


class ServerCursor:
    """One cursor: opened by :meth:`first`, read on by :meth:`more`, always on the member that opened it.

    Args:
        connection: The server.
        database: Name of the database.
        command: The ``find`` or ``aggregate`` command, without sizes.
        session: The session to read in; None makes one for this cursor.
        read_preference: Which members may be read; None for the connection's own.
    """

    def __init__(
        self,
        connection: Connection,
        database: str,
        command: Mapping[str, Any],
        session: ClientSession | None,
        read_preference: Any,
    ) -> None:
        self._client = connection.client
        self._database = connection.client[database]
        self._command = command
        self._doing = f"reading {database}.{next(iter(command.values()))}"
        self._own = session is None
        self._session = session or self._client.start_session(causal_consistency=False)
        wanted = read_preference or self._client.read_preference
        self._pin = Pin(wanted, self._client.options.local_threshold_ms / 1000)
        self._process = os.getpid()
        self._opening = False
        self._number = 0
        self._namespace = ""
        self._target = _NEAR
        self.rows = 0
        self.time: Timestamp | None = None

    def first(self, rows: int, target: int | None) -> memoryview | None:
        """Open the cursor; ask for ``rows`` documents now and for ``target`` bytes later, None: what is fastest."""
        self.rows = rows
        sizes = {"batchSize": rows} if "find" in self._command else {"cursor": {"batchSize": rows}}
        self._opening = True
        reply = self._ask({**self._command, **sizes})
        self._pin.hold()
        self._opening = False
        self._namespace, self.time = reply.namespace, reply.time
        self._target = target or self._fastest()
        return self._taken(reply)

    @property
    def open(self) -> bool:
        """Whether there is more to read."""
        return self._number != 0

    def more(self) -> memoryview | None:
        """The next batch, which may be empty; None when there is no more."""
        if not self._number:
            return None
        collection = self._namespace.split(".", 1)[1]  # that of a view's or a time series' cursor may be another one
        return self._taken(self._ask({"getMore": self._number, "collection": collection, "batchSize": self.rows}))

    def close(self) -> None:
        """Close it on the server, whoever reads it; silent if the server is gone."""
        if os.getpid() != self._process:
            return  # a forked child's copy: the cursor is the parent's
        number, self._number = self._number, 0
        if not self._anybody():
            return
        with suppress(PyMongoError), stopping.regardless(), pymongo.timeout(_CLOSING):
            if number:
                collection = self._namespace.split(".", 1)[1]
                # in a session of the driver's: ours may be in use by a thread that waits for a reply
                self._database.command("killCursors", collection, cursors=[number], read_preference=self._pin)
            elif self._opening and self._own:  # interrupted: the server may have opened it without our knowing
                self._client.admin.command("killSessions", [self._session.session_id])

    def _anybody(self) -> bool:
        """Whether a server is there that could be told."""
        members = self._client.topology_description.server_descriptions().values()
        return any(member.is_server_type_known for member in members)

    def end(self) -> None:
        """Give the session back; nobody reads any more."""
        if self._own and os.getpid() == self._process:
            self._session.end_session()

    def _ask(self, command: dict[str, Any]) -> Reply:
        preference = ReadPreference.PRIMARY if self._session.in_transaction else self._pin
        with self._translated():
            reply = self._database.command(
                command, codec_options=_WHOLE, session=self._session, read_preference=preference
            )
            return cut(reply["cursor"].raw)

    def _fastest(self) -> int:
        """Bytes of a reply: the farther the server, the more, since it waits to be asked for each."""
        members = self._client.topology_description.server_descriptions()
        member = members.get(self._pin.address) if self._pin.address else next(iter(members.values()), None)
        distance = member.round_trip_time if member else None
        return max(_NEAR, min(_FAR, int(_PER_SECOND * (distance or 0))))

    def _taken(self, reply: Reply) -> memoryview:
        self._number = reply.cursor
        size = len(reply.batch)
        self.rows = max(1, min(_MOST, self.rows * self._target // size))
        return reply.batch

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated(self._doing):
                yield
        except DatabaseError as error:
            cause = error.__cause__
            code = cause.code if isinstance(cause, OperationFailure) else None
            if code in _GONE:
                self._number = 0
                raise self._gone(cause) from cause
            if code in _TOO_OLD:
                raise self._too_old(cause) from cause
            if not isinstance(cause, OperationFailure):
                self._number = 0  # cut off: there is nobody to tell that the cursor can go
            raise

    def _gone(self, cause: object) -> DatabaseError:
        return DatabaseError(
            f"{self._doing}: the server no longer has the cursor: {_reason(cause)}",
            "Read again. A server drops a cursor that waits for 10 minutes, and all when it or the collection goes.",
        )

    def _too_old(self, cause: object) -> DatabaseError:
        return DatabaseError(
            f"{self._doing}: the server no longer has the state of that time: {_reason(cause)}",
            "Read again, in parts that take less than minSnapshotHistoryWindowInSeconds (5 minutes by default).",
        )


def _reason(cause: object) -> str:
    return redact(str(cause)).split(", full error:", maxsplit=1)[0]
