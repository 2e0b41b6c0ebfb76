"""Reads under a cutoff of views, of what has no history, and of what is gone or was replaced."""

from __future__ import annotations

from datetime import datetime

import pytest

from nemesyst.database import STAMP
from nemesyst.database.cutoff import Cutoff, Reread
from nemesyst.errors import DatabaseError

from .cutoffs import FILLED, WAYS, ids_of, put, rows_of

pytestmark = pytest.mark.slow


def test_a_view_is_read_as_it_was(hub, now, cutoff):
    hub.db.create_collection("rows", viewOn="base", pipeline=[{"$match": {"_id": {"$gte": 1}}}])
    hub.db.base.insert_many([{"_id": i} for i in range(10)])
    under = cutoff(now())
    hub.db.base.insert_one({"_id": 10})
    found, read = rows_of(under, stages=[{"$sort": {"_id": 1}}])
    assert [row["_id"] for row in found] == list(range(1, 10))
    assert (read.way, read.time, under.changes().until) == ("history", under.time, None)


@pytest.mark.parametrize("kind", ["timeseries", "capped"])
def test_what_has_no_history_is_read_as_it_is(hub, now, cutoff, kind):
    options = {
        "timeseries": {"timeseries": {"timeField": "t"}},
        "capped": {"capped": True, "size": 10**6},
    }[kind]
    hub.db.create_collection("rows", **options)
    hub.db.rows.insert_many([{"_id": i, "t": datetime(2026, 1, 1)} for i in range(10)])
    under = cutoff(now())
    hub.db.rows.insert_one({"_id": 10, "t": datetime(2026, 1, 1)})
    found, read = rows_of(under, stages=[{"$sort": {"_id": 1}}])
    assert [row["_id"] for row in found] == list(range(11))
    assert (read.way, read.time, under.changes().until) == ("plain", None, None)


@pytest.mark.parametrize("way", WAYS)
def test_a_collection_that_is_not_there_is_empty_and_stays_so(hub, now, cutoff, way):
    under = cutoff(now(), way)
    assert ids_of(under) == []
    put(hub, range(10))
    assert ids_of(under) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["drop", "rename", "out"])
def test_a_collection_that_was_replaced_is_told(hub, now, cutoff, way, how):
    put(hub, range(10))
    under = cutoff(now(), way)
    assert ids_of(under) == list(range(10))
    hub.db.other.insert_many([{"_id": i, STAMP: FILLED} for i in range(5)])
    if how == "drop":
        hub.db.rows.drop()
    elif how == "rename":
        hub.db.other.rename("rows", dropTarget=True)
    else:
        hub.db.other.aggregate([{"$out": "rows"}])
    again = Cutoff.from_dict(hub._connection, under.as_dict())
    for one in (under, again):
        with pytest.raises(DatabaseError, match="dropped|took its place"):
            _until_told(one)


def _until_told(cutoff):
    for _ in range(3):
        try:
            return ids_of(cutoff)
        except Reread:
            pass
    return None
