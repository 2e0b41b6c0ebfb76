"""Cluster times: now, out of what a user gives, and out of a resume token.

A cluster time is a second and a count within it; MongoDB's oplog orders every write by it.
"""

from __future__ import annotations

import math
import time as clock
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from bson.timestamp import Timestamp
from pymongo.errors import AutoReconnect, OperationFailure
from pymongo.read_preferences import ReadPreference

from nemesyst.database.cutoff.patience import PATIENCE, Patience, passes
from nemesyst.database.translate import translated
from nemesyst.errors import DatabaseError, FeedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo import MongoClient

    from nemesyst.database.connection import Connection

_NO_RIGHT = 13
_AHEAD = 2.0
"""How far in the future, in s, a moment may be: the rest of its second, and clocks that differ a little."""
_MOST = 2**32 - 1
_LETTERS = 100
_DOING = "asking the database for its time"
_FORMS = 'Give a datetime, an ISO text such as "2026-01-31T12:00:00Z", seconds since 1970, or a cluster time.'
_NAIVE = " A moment without a zone is taken for UTC: give datetime.now().astimezone(), or +02:00 behind a text."
"""What whoever is some hours off should know."""


def number(time: Timestamp) -> int:
    """A cluster time as one integer of the same order."""
    return int(time.time) << 32 | int(time.inc)


def after(time: Timestamp) -> Timestamp:
    """The next cluster time."""
    return _timestamp(number(time) + 1)


def before(time: Timestamp) -> Timestamp:
    """The cluster time before it."""
    return _timestamp(number(time) - 1)


def _timestamp(value: int) -> Timestamp:
    return Timestamp(value >> 32, value & _MOST)


def token_time(token: Mapping[str, Any]) -> Timestamp:
    """The cluster time in a resume token of a change stream.

    It is a KeyString in hexadecimal digits: the byte of the type timestamp, then its eight bytes, big-endian.

    Raises:
        DatabaseError: The token has another form, so a server that we do not know made it.
    """
    data = str(token.get("_data", ""))
    if len(data) < 18 or data[:2] != "82":
        raise DatabaseError(f"the server's resume token cannot be read: {data:.40}", "Use MongoDB 5.0 to 8.")
    return _timestamp(int(data[2:18], 16))


def present_time(
    connection: Connection, database: str | None = None, *, fresh: bool = False, patience: float = PATIENCE
) -> Timestamp:
    """A cluster time that covers every write that was acknowledged by a majority before the call, by anybody.

    A replica set's primary is asked by a linearizable read, which a primary that has been deposed without knowing it
    cannot answer; it takes a few ms, and needs the right to read ``database``. Without it, or where there is one member
    only, the primary's own word is taken; so is that of a secondary to which the address connects directly. A
    standalone server has no cluster time: its clock is given.

    Args:
        connection: The server.
        database: A database that the user may read; by default the one that the address names.
        fresh: Whether the time must be about that of the clock, even if nothing was written for some s.
        patience: How long to go on while there is no primary, in s.

    Raises:
        UnreachableError: No primary answered in time.
    """
    waiting = Patience(_DOING, patience)
    while True:
        try:
            with translated(_DOING):
                return _asked(connection, database or connection.default_database or "admin", fresh=fresh)
        except DatabaseError as error:
            if not passes(error):
                raise
            waiting.wait(error)


def _asked(connection: Connection, database: str, *, fresh: bool) -> Timestamp:
    client = connection.client
    if not connection.server.transactions:
        told = client.admin.command("hello")["localTime"]
        return Timestamp(math.ceil(told.replace(tzinfo=told.tzinfo or UTC).timestamp()), 0)
    if connection.server.sharded:  # every shard answers, and the router knows the latest of their times
        gossip: Timestamp = client.admin.command("listDatabases", nameOnly=True)["$clusterTime"]["clusterTime"]
        return gossip
    seen = client.topology_description
    members = seen.server_descriptions().values()
    follower = seen.topology_type_name == "Single" and not all(member.is_writable for member in members)
    alone = len({host for member in members for host in member.all_hosts}) == 1
    if not follower and (fresh or not alone):
        return _linearizable(client, database)
    return _told(client.admin.command("ping", read_preference=ReadPreference.PRIMARY))


def _linearizable(client: MongoClient[dict[str, Any]], database: str) -> Timestamp:
    linearizable = {"level": "linearizable"}
    read = {"find": "nemesyst.present", "limit": 1, "singleBatch": True, "readConcern": linearizable}
    try:
        answer = client[database].command({**read, "maxTimeMS": 10_000}, read_preference=ReadPreference.PRIMARY)
    except OperationFailure as error:
        if error.code != _NO_RIGHT:
            raise
        answer = client.admin.command("ping", read_preference=ReadPreference.PRIMARY)
    return _told(answer)


def _told(answer: Mapping[str, Any]) -> Timestamp:
    """The time in an answer; a server that has just begun does not tell it yet, and is asked again."""
    if "operationTime" not in answer:
        raise AutoReconnect("the server has just begun, and does not tell its time yet")
    time: Timestamp = answer["operationTime"]
    return time


def as_time(value: Any, connection: Connection, database: str | None = None) -> Timestamp:
    """The cluster time of an ``as_of`` that a user gives.

    A moment is rounded up to a full second, since cluster times count no finer: all writes before it are covered, and
    those of the rest of its second. If that second is not over, it is waited for.

    Args:
        value: A datetime (UTC if it is naive), a date (its midnight), an ISO text, seconds since 1970, a cluster time
            as it is, also as the pair of numbers in a lineage, or None for now.
        connection: The server.
        database: See :func:`present_time`.

    Raises:
        FeedError: It is none of these, lies in the future, or before 1970.
    """
    now = present_time(connection, database, fresh=value is not None)
    if value is None:
        return now
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(each) is int for each in value):
        value = _pair(*value)
    if isinstance(value, Timestamp):
        time = value
    else:
        seconds = _seconds(value)
        if not 0 < seconds < _MOST:
            forms = _FORMS + (" These may be milliseconds." if 0 < seconds / 1000 < _MOST else "")
            raise FeedError(f"as_of: {_shown(value)} lies outside of the years 1970 to 2106", forms)
        time = Timestamp(math.ceil(seconds), 0)
    if number(time) <= 0:
        raise FeedError(f"as_of: {_shown(value)} is before any write", _FORMS)
    while number(time) > number(now):
        if time.time - now.time > _AHEAD:
            told = datetime.fromtimestamp(now.time, UTC).isoformat()
            given = datetime.fromtimestamp(time.time, UTC).isoformat()
            raise FeedError(
                f"as_of: {given} lies in the future: the server's time is {told}",
                "Leave as_of out for the rows of now." + (_NAIVE if _is_naive(value) else ""),
            )
        clock.sleep(0.05)
        now = present_time(connection, database, fresh=True)
    return time


def _pair(seconds: int, count: int) -> Timestamp:
    """A cluster time as a lineage has it."""
    if not (0 <= seconds <= _MOST and 0 <= count <= _MOST):
        raise FeedError(f"as_of: {[seconds, count]} is no cluster time", _FORMS)
    return Timestamp(seconds, count)


def _seconds(value: Any) -> float:
    """Seconds since 1970 of a moment in any of its forms."""
    if isinstance(value, np.datetime64) and not np.isnat(value):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime) and value != value:  # noqa: PLR0124 - the NaT of pandas
        raise FeedError(f"as_of: {value!r} is no moment", _FORMS)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise FeedError(f"as_of: {_shown(value)} is not an ISO date and time", _FORMS) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise FeedError(f"as_of: {_shown(value)} of type {type(value).__name__} is no moment", _FORMS)


def _is_naive(value: Any) -> bool:
    """Whether a user may have meant another zone than UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    return isinstance(value, np.datetime64) or (isinstance(value, datetime) and value.tzinfo is None)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."
