"""Reading under cutoffs, for the tests of them."""

from __future__ import annotations

from contextlib import contextmanager

import bson
from bson import Timestamp

from nemesyst.database import STAMP

WAYS = ["history", "stream", "stamp"]
SORTED = {"filter": {}, "sort": {"_id": 1}}
FILLED = Timestamp(0, 0)


def documents(batch):
    return list(bson.decode(batch, bson.CodecOptions(tz_aware=True)).values())


def rows_of(cutoff, **command):
    """The rows of a cutoff, by their ids; and the read."""
    with cutoff.read(**command or {"find": SORTED}) as read:
        found = [row for batch in read for row in documents(batch)]
    keep = read.excluded.keep([row["_id"] for row in found])
    assert keep.tolist() == [row["_id"] not in read.excluded for row in found]
    return [row for row, kept in zip(found, keep, strict=True) if kept], read


def ids_of(cutoff, **command):
    return [row["_id"] for row in rows_of(cutoff, **command)[0]]


def put(hub, ids, **fields):
    hub.db.rows.insert_many([{"_id": identity, STAMP: FILLED, **fields} for identity in ids])


@contextmanager
def in_flight(hub, ids):
    """A transaction that has inserted rows and is committed at the end."""
    with hub.db.client.start_session() as session, session.start_transaction():
        hub.db.rows.insert_many([{"_id": identity, STAMP: FILLED} for identity in ids], session=session)
        yield
