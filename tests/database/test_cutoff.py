"""A collection as it was at one moment: which rows are there, and which are not."""

from __future__ import annotations

import json
from datetime import datetime

import bson
import pytest
from bson import Decimal128, Int64, ObjectId

from nemesyst.database import STAMP
from nemesyst.database.cutoff import Cutoff, Reread
from nemesyst.errors import DatabaseError

from .cutoffs import SORTED, WAYS, ids_of, in_flight, put, rows_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_come_later_are_not_there(hub, now, cutoff, way):
    put(hub, range(100))
    under = cutoff(now(), way)
    put(hub, range(100, 200))
    found, read = rows_of(under, find=SORTED, first_rows=10, batch_bytes=1000)
    assert [row["_id"] for row in found] == list(range(100))
    assert (read.way, read.retries) == (way, 0)
    assert (read.time == under.time) == (way == "history")
    assert read.time >= under.time


@pytest.mark.parametrize("way", WAYS)
def test_a_pipeline_reads_under_the_cutoff(hub, now, cutoff, way):
    put(hub, range(100))
    under = cutoff(now(), way)
    put(hub, range(100, 200))
    stages = [{"$match": {"_id": {"$gte": 50}}}, {"$sort": {"_id": -1}}]
    assert ids_of(under, stages=stages) == list(range(99, 49, -1))


def test_at_the_cutoff_itself_rows_are_as_they_were_also_in_a_lookup(hub, now, cutoff):
    put(hub, range(3), x=1)
    hub.db.other.insert_one({"_id": 0})
    time = now()
    hub.db.rows.update_one({"_id": 1}, {"$set": {"x": 2}})
    hub.db.rows.delete_one({"_id": 2})
    hub.db.other.insert_one({"_id": 1})
    lookup = {"$lookup": {"from": "other", "pipeline": [], "as": "others"}}
    found, _ = rows_of(cutoff(time), stages=[{"$sort": {"_id": 1}}, lookup])
    assert [(row["_id"], row["x"], len(row["others"])) for row in found] == [(0, 1, 1), (1, 1, 1), (2, 1, 1)]


def test_changes_since_are_counted_and_named(hub, now, cutoff):
    put(hub, range(300), x=1)
    under = cutoff(now(), "stream")
    put(hub, [1000, 1001])
    hub.db.rows.update_one({"_id": 1000}, {"$set": {"x": 2}})  # of a row that is no part of it
    hub.db.rows.delete_one({"_id": 1001})
    for _ in range(3):
        hub.db.rows.update_many({"_id": {"$lt": 150}}, {"$inc": {"x": 1}})
    hub.db.rows.replace_one({"_id": 200}, {"x": 3})
    hub.db.rows.delete_many({"_id": {"$gte": 290, "$lt": 1000}})
    changes = under.changes()
    assert (changes.inserted, changes.updated, changes.replaced, changes.deleted) == (2, 150, 1, 10)
    assert changes.ids == {
        "inserted": [1000, 1001],
        "updated": list(range(100)),
        "replaced": [200],
        "deleted": list(range(290, 300)),
    }
    assert changes.until >= under.time
    assert repr(changes) == (
        "<changes since the cutoff: 2 inserted, 150 updated, 1 replaced, 10 deleted; first: inserted 1000, 1001; "
        "updated 0, 1, 2; replaced 200; deleted 290, 291, 292>"
    )
    assert ids_of(under) == list(range(290))


@pytest.mark.parametrize("way", WAYS)
def test_a_row_that_was_deleted_and_came_again_is_another_one(hub, now, cutoff, way):
    put(hub, ["kept", "again", "gone"])
    under = cutoff(now(), way)
    hub.db.rows.delete_many({"_id": {"$ne": "kept"}})
    put(hub, ["again", "twice"])
    hub.db.rows.delete_one({"_id": "twice"})
    put(hub, ["twice"])
    assert ids_of(under) == (["again", "gone", "kept"] if way == "history" else ["kept"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clustered", [False, True])
def test_ids_of_all_types_are_told_apart(hub, now, cutoff, way, clustered):
    if clustered:
        hub.db.create_collection("rows", clusteredIndex={"key": {"_id": 1}, "unique": True})
    early = [1, 2.5, "a", {"u": 1, "t": 2}, ObjectId(), None, True, b"x", Decimal128("7"), datetime(2026, 1, 1)]
    late = [2, 3.5, "b", {"u": 1, "t": 3}, {"t": 2, "u": 1}, ObjectId(), False, b"y", Int64(8), datetime(2026, 1, 2)]
    put(hub, early)
    under = cutoff(now(), way)
    put(hub, late)
    found, _ = rows_of(under)
    options = bson.CodecOptions(tz_aware=True)
    there = [bson.decode(bson.encode({"_id": value}), options)["_id"] for value in early]
    assert sorted(map(repr, (row["_id"] for row in found))) == sorted(map(repr, there))


@pytest.mark.parametrize("way", WAYS)
def test_a_transaction_under_way_at_the_cutoff_is_not_part_of_it(hub, now, cutoff, way):
    put(hub, [1])
    with in_flight(hub, [2]):
        time = now()
    assert hub.db.rows.find_one({"_id": 2})[STAMP] < time
    assert ids_of(cutoff(time, way)) == [1]


@pytest.mark.parametrize("way", WAYS)
def test_a_transaction_of_many_rows_is_left_out_as_a_whole(hub, now, cutoff, way):
    put(hub, [-1])
    under = cutoff(now(), way)
    with in_flight(hub, range(12_000)):
        pass
    assert ids_of(under) == [-1]


def test_kept_exclusions_are_enough_in_another_process(hub, now, cutoff):
    put(hub, [1])
    with in_flight(hub, [2, {"a": 2}]):
        time = now()
    first = cutoff(time)
    first.catch_up()
    assert first.kept().settled is False  # a transaction may take a minute
    state = json.loads(json.dumps(first.as_dict()))
    bson.encode(state)
    again = Cutoff.from_dict(hub._connection, state)
    assert again.way == "history"
    again.give_up("history", DatabaseError("over"))
    again.give_up("stream", DatabaseError("over"))
    assert ids_of(again) == [1]
    assert again.as_dict() == first.as_dict()


@pytest.mark.parametrize("fields", [{}, {STAMP: "yesterday"}])
def test_rows_without_a_stamp_are_refused_when_nothing_else_tells(hub, now, cutoff, fields):
    put(hub, range(100))
    hub.db.rows.insert_one({"_id": 100, **fields})
    under = cutoff(now(), "stamp")
    with pytest.raises(Reread):  # the first rows were given
        rows_of(under, find=SORTED, first_rows=2, batch_bytes=100)
    with pytest.raises(DatabaseError, match=r"_id 100\) without a stamp") as told:
        rows_of(under)
    assert "feed.pin()" in told.value.remedy


def test_a_failing_pipeline_is_not_taken_for_a_row_without_a_stamp(hub, now, cutoff):
    put(hub, ["x"])
    under = cutoff(now(), "stamp")
    with pytest.raises(DatabaseError, match="refused"):
        rows_of(under, stages=[{"$set": {"n": {"$toInt": "$_id"}}}])
    assert under.way == "stamp"
