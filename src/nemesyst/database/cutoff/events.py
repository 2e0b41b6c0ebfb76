"""The events of a change stream in whole batches, by commands that stay with one member.

The driver's own change stream looks for a member that has died for as long as for any (30 s), instead of going on with
another one; and it does not tell whether a batch was empty, which says that all up to the token's time was given.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.errors import AutoReconnect, ConnectionFailure, PyMongoError

from nemesyst.database import stopping
from nemesyst.database.raw.pin import Pin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database.connection import Connection

_AWAIT_MS = 1, 100
"""How long the server waits for the next event: at first, when there may be none, and at most."""
_AT_ONCE = 5000
_CLOSING = 5.0  # s that the server has to close the cursor
_ALL_VALUES: CodecOptions[dict[str, Any]] = CodecOptions(
    uuid_representation=UuidRepresentation.UNSPECIFIED, datetime_conversion=DatetimeConversion.DATETIME_MS
)


class Batch(NamedTuple):
    """Events in the order of the oplog, none after waiting for some in vain; and where to go on after them."""

    events: Sequence[Mapping[str, Any]]
    token: Mapping[str, Any]


class Events:
    """The cursor of a change stream over one collection; raises the driver's errors.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection.
        start: Where to begin, in the words of ``$changeStream``.
        project: The fields of an event that are needed.
        read_preference: Which members may be asked; None for the connection's own.
    """

    def __init__(
        self,
        connection: Connection,
        database: str,
        collection: str,
        *,
        start: Mapping[str, Any],
        project: Mapping[str, Any],
        read_preference: Any = None,
    ) -> None:
        self._client = client = connection.client
        self._database = client[database]
        self._collection = collection
        self._pin = Pin(read_preference or client.read_preference, client.options.local_threshold_ms / 1000)
        self._session = client.start_session(causal_consistency=False)
        self._process = os.getpid()
        self._number = 0
        self._wait = _AWAIT_MS[0]
        command = {
            "aggregate": collection,
            "pipeline": [{"$changeStream": dict(start)}, {"$project": dict(project)}],
            "cursor": {"batchSize": 0},
            "readConcern": {"level": "majority"},
            "comment": "nemesyst cutoff",
        }
        try:
            self._number = self._ask(command)["id"]
        except BaseException:
            self._session.end_session()
            raise
        self._pin.hold()

    def hurry(self) -> None:
        """Let the next wait be a moment again: something new is asked for."""
        self._wait = _AWAIT_MS[0]

    def next(self) -> Batch:
        """Wait for events, a moment at first and a tenth of a second at most."""
        members = self._client.topology_description.server_descriptions()
        member = members.get(self._pin.address) if self._pin.address else None
        if member is not None and not member.is_server_type_known:  # to begin again elsewhere costs nothing
            self._number = 0
            raise AutoReconnect("the member of the replica set that was followed has gone")
        sizes = {"batchSize": _AT_ONCE, "maxTimeMS": self._wait}
        cursor = self._ask({"getMore": self._number, "collection": self._collection, **sizes})
        self._number = cursor["id"]
        least, most = _AWAIT_MS
        self._wait = least if cursor["nextBatch"] else min(most, 2 * self._wait)
        return Batch(cursor["nextBatch"], cursor["postBatchResumeToken"])

    def close(self) -> None:
        """Close the cursor on the server; silent if the server is gone."""
        if os.getpid() != self._process:
            return  # a forked child's copy: the cursor is the parent's
        number, self._number = self._number, 0
        with suppress(PyMongoError), stopping.regardless(), pymongo.timeout(_CLOSING):
            if number:
                self._database.command("killCursors", self._collection, cursors=[number], read_preference=self._pin)
        self._session.end_session()

    def _ask(self, command: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._database.command(
                command, codec_options=_ALL_VALUES, session=self._session, read_preference=self._pin
            )
        except ConnectionFailure:
            self._number = 0  # cut off: there is nobody to tell that the cursor can go
            raise
        cursor: Mapping[str, Any] = answer["cursor"]
        return cursor
