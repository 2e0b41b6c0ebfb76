"""Whether collections are as they were at a cluster time, and inserting what is not there yet."""

from __future__ import annotations

import time as clock
from typing import TYPE_CHECKING, Any

from pymongo import errors as driver

from nemesyst.database.cutoff.times import after, number, token_time
from nemesyst.database.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bson import Timestamp

    from nemesyst.database.connection import Connection

_DUPLICATE = 11000


def unchanged(
    connection: Connection,
    database: str,
    collections: Iterable[str],
    since: Timestamp,
    until: Timestamp,
    patience: float,
) -> bool:
    """Whether nothing was written to collections after ``since`` and up to ``until``; False if that cannot be told.

    Args:
        connection: The server.
        database: Name of the database.
        collections: Their names.
        since: A cluster time.
        until: A later one.
        patience: How long to look, in s.
    """
    match: list[Mapping[str, Any]] = [{"$match": {"ns.coll": {"$in": sorted(collections)}}}, {"$project": {"_id": 1}}]
    end = clock.monotonic() + patience
    try:
        with connection.client[database].watch(
            match, start_at_operation_time=after(since), max_await_time_ms=10
        ) as stream:
            while stream.alive and clock.monotonic() < end:
                if stream.try_next() is not None:
                    return False
                token = stream.resume_token
                if token is not None and number(token_time(token)) >= number(until):
                    return True
    except driver.PyMongoError:  # no right, no oplog of that time, no replica set: nobody knows
        return False
    return False


def insert_new(collection: Any, documents: Sequence[Mapping[str, Any]], doing: str) -> None:
    """Insert documents; those whose ``_id`` is there already are left as they are.

    Raises:
        DatabaseError: They cannot be stored.
    """
    with translated(doing):
        try:
            collection.insert_many(documents, ordered=False)
        except driver.BulkWriteError as error:
            others = [each for each in error.details["writeErrors"] if each["code"] != _DUPLICATE]
            if others or error.details.get("writeConcernErrors"):
                raise
