"""Whether collections read as they did at a cluster time, and inserting what is not there yet."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo import errors as driver
from pymongo.write_concern import WriteConcern

from nemesyst.database.cutoff.beneath import stored_beneath
from nemesyst.database.cutoff.times import after, number, token_time
from nemesyst.database.translate import translated
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bson import Timestamp

    from nemesyst.database.connection import Connection

_DUPLICATE = 11000
_AT_THE_PRIMARY = WriteConcern(1)


def unchanged(
    connection: Connection,
    database: str,
    collections: Iterable[str],
    since: Timestamp,
    until: Timestamp,
    patience: float,
) -> bool:
    """Whether reading collections gives the same after ``since`` and up to ``until``; False if that cannot be told.

    Views are seen through. Of a time-series collection, no row may have a time after the second of ``since``: it has no
    change stream, and its cutoff is a time.

    Args:
        connection: The server.
        database: Name of the database.
        collections: Their names.
        since: A cluster time.
        until: A later one.
        patience: How long to look, in s.
    """
    end = clock.monotonic() + patience
    try:
        stored = stored_beneath(connection, database, collections)
        if any(_came(connection, database, *each, since, until) for each in stored.series.items()):
            return False
        return not stored.names or _unwritten(connection, database, stored.names, since, until, end)
    except (driver.PyMongoError, DatabaseError):  # no right, no oplog of that time, no replica set: nobody knows
        return False


def _came(connection: Connection, database: str, name: str, field: str, since: Timestamp, until: Timestamp) -> bool:
    """Whether a time-series collection has rows of the seconds after one cutoff and up to another."""
    first, last = (datetime.fromtimestamp(time.time + 1, UTC) for time in (since, until))
    found = connection.client[database][name].find_one({field: {"$gte": first, "$lt": last}}, {"_id": 1})
    return found is not None


def _unwritten(
    connection: Connection, database: str, names: Iterable[str], since: Timestamp, until: Timestamp, end: float
) -> bool:
    match: list[Mapping[str, Any]] = [{"$match": {"ns.coll": {"$in": sorted(names)}}}, {"$project": {"_id": 1}}]
    with connection.client[database].watch(match, start_at_operation_time=after(since), max_await_time_ms=10) as stream:
        while stream.alive and clock.monotonic() < end:
            token = stream.resume_token  # there is none while events wait to be taken
            if token is not None and number(token_time(token)) >= number(until):
                return True
            if stream.try_next() is not None:
                return False
    return False


def insert_new(collection: Any, documents: Sequence[Mapping[str, Any]], doing: str, *, lasting: bool = True) -> None:
    """Insert documents; those whose ``_id`` is there already are left as they are.

    Args:
        collection: The collection.
        documents: The documents.
        doing: What it is for, for an error.
        lasting: Whether to wait until a majority of the members has them in its journal; otherwise the primary has
            them, which everybody asks, and they are lost if it dies in that moment.

    Raises:
        DatabaseError: They cannot be stored.
    """
    with translated(doing):
        try:
            if not lasting:
                collection = collection.with_options(write_concern=_AT_THE_PRIMARY)
            collection.insert_many(documents, ordered=False)
        except driver.BulkWriteError as error:
            others = [each for each in error.details["writeErrors"] if each["code"] != _DUPLICATE]
            if others or error.details.get("writeConcernErrors"):
                raise
