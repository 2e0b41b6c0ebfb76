"""A collection as it was at one moment, on one server, while it is being written to."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import bson
import numpy as np
import pytest
from bson import Decimal128, Int64, ObjectId, Timestamp

from nemesyst.database import STAMP
from nemesyst.database.cutoff import Cutoff, RateLimit, Reread, as_time, present_time
from nemesyst.errors import DatabaseError, FeedError

pytestmark = pytest.mark.slow

WAYS = ["history", "stream", "stamp"]
SORTED = {"filter": {}, "sort": {"_id": 1}}
FILLED = Timestamp(0, 0)


@pytest.fixture
def now(hub):
    """The server's time; later than every stamp, also one that is not committed yet."""
    return lambda: present_time(hub._connection, hub.db.name, fresh=True)


@pytest.fixture
def cutoff(hub):
    """Make cutoffs; ``way``: the ways before it are over, as if the server's history were."""
    made = []

    def make(time, way="history", collection="rows", **options):
        cutoff = Cutoff(hub._connection, hub.db.name, collection, time, **options)
        made.append(cutoff)
        if way == "stamp":
            cutoff.catch_up()
        assert cutoff.way
        for before in WAYS[: WAYS.index(way)]:
            cutoff.give_up(before, DatabaseError("over"))
        return cutoff

    yield make
    for cutoff in made:
        cutoff.close()


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


@contextmanager
def in_flight(hub, ids):
    """A transaction that has inserted rows and is committed at the end."""
    with hub.db.client.start_session() as session, session.start_transaction():
        hub.db.rows.insert_many([{"_id": identity, STAMP: FILLED} for identity in ids], session=session)
        yield


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


class Writers:
    """Threads that insert, update, delete and commit transactions; each row's incarnation is its ``born``."""

    def __init__(self, hub, count=4):
        self._rows, self._client, self._stop = hub.db.rows, hub.db.client, threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(count)]
        self.acknowledged = [[] for _ in range(count)]

    def _work(self, thread):
        random = np.random.default_rng(thread)
        step = 0
        while not self._stop.is_set():
            step += 1
            names = [f"{thread}.{random.integers(60)}" for _ in range(4)]
            born = [ObjectId() for _ in names]
            rows = [{"_id": n, "born": b, "x": 0, STAMP: FILLED} for n, b in zip(names, born, strict=True)]
            if step % 3 == 0:
                self._rows.delete_many({"_id": {"$in": names}})
                self._rows.insert_many({row["_id"]: row for row in rows}.values())
            elif step % 3 == 1:
                with self._client.start_session() as session, session.start_transaction():
                    self._rows.delete_many({"_id": {"$in": names[:2]}}, session=session)
                    self._rows.insert_one(rows[0], session=session)
            else:
                self._rows.update_many({"_id": {"$in": names}}, {"$inc": {"x": 1}})
            new = ObjectId()
            self._rows.insert_one({"_id": new, "born": new, "x": 0, STAMP: FILLED})
            self.acknowledged[thread].append(new)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def at(hub, time):
    """What a plain snapshot shows: incarnation by ``_id``."""
    answer = hub.db.command(
        {"find": "rows", "batchSize": 10**6, "readConcern": {"level": "snapshot", "atClusterTime": time}}
    )
    assert answer["cursor"]["id"] == 0
    return {row["_id"]: row["born"] for row in answer["cursor"]["firstBatch"]}


@pytest.mark.parametrize("way", WAYS)
def test_exactly_the_rows_of_the_cutoff_are_read_under_load(hub, now, cutoff, way):
    hub.db.rows.insert_one({"_id": 0, "born": 0, STAMP: FILLED})
    with Writers(hub) as writers:
        for _ in range(4):
            while min(map(len, writers.acknowledged)) < 10:
                pass
            acknowledged = [new for done in writers.acknowledged for new in list(done)]
            time = now()
            there = at(hub, time)
            assert set(acknowledged) <= set(there)  # inserted before, never deleted
            under = cutoff(time, way)
            for _ in range(5):
                try:
                    found, read = rows_of(under, find=SORTED, first_rows=20, batch_bytes=2000)
                except Reread:
                    continue
                born = {row["_id"]: row["born"] for row in found}
                shown = at(hub, read.time)
                assert born == {key: value for key, value in shown.items() if there.get(key) == value}
            under.close()
            for done in writers.acknowledged:
                done.clear()


def test_threads_share_a_cutoff(hub, now, cutoff):
    put(hub, range(1000))
    under = cutoff(now(), "stream")
    put(hub, range(1000, 3000))
    found = {}

    def read(part):
        between = {"filter": {"_id": {"$gte": part * 500, "$lt": part * 500 + 500}}, "sort": {"_id": 1}}
        found[part] = ids_of(under, find=between)

    threads = [threading.Thread(target=read, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [identity for part in range(6) for identity in found[part]] == list(range(1000))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ahead", [0, 2])
def test_a_cursor_that_is_killed_is_opened_again_where_it_was(hub, now, cutoff, way, ahead):
    put(hub, range(2000))
    under = cutoff(now(), way)
    put(hub, range(2000, 2100))
    read = under.read(find=SORTED, first_rows=50, batch_bytes=3000, ahead=ahead)
    found, kills = [], 0
    for number, batch in enumerate(read):
        found += documents(batch)
        if number in (0, 7, 15):
            kills += 1
            killed = hub.db.command("killCursors", "rows", cursors=[read._reader._reading.cursor._number])
            assert killed["cursorsKilled"]
    assert read.retries == kills == 3
    ids = [row["_id"] for row in found]
    assert [identity for identity in ids if identity not in read.excluded] == list(range(2000))
    assert len(set(ids)) == len(ids)


def test_rows_that_come_in_another_order_are_not_skipped_by_guess(hub, now, cutoff):
    hub.db.rows.insert_many([{"_id": i} for i in range(2000)])
    read = cutoff(now()).read(stages=[{"$set": {"r": {"$rand": {}}}}], first_rows=50, batch_bytes=3000)
    batches = iter(read)
    next(batches)
    next(batches)
    hub.db.command("killCursors", "rows", cursors=[read._reader._reading.cursor._number])
    with pytest.raises(Reread, match="another order"):
        list(batches)


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


def test_too_many_new_rows_leave_it_to_the_stamps(hub, now, cutoff, monkeypatch):
    monkeypatch.setattr("nemesyst.database.cutoff.stream.MOST", 50)
    put(hub, range(10))
    under = cutoff(now(), "stream")
    put(hub, range(10, 100))
    assert ids_of(under) == list(range(10))
    assert under.way == "stamp"


def test_changes_that_are_lost_while_rows_are_read_are_told(hub, now, cutoff, monkeypatch):
    put(hub, range(10))
    under = cutoff(now(), "stream")
    assert ids_of(under) == list(range(10))
    put(hub, range(10, 100))
    monkeypatch.setattr("nemesyst.database.cutoff.stream.MOST", 50)
    with pytest.raises(Reread):
        ids_of(under)
    assert ids_of(under) == list(range(10))
    assert under.way == "stamp"


def test_a_huge_row_passes_the_change_stream(hub, now, cutoff):
    put(hub, [1])
    under = cutoff(now(), "stream")
    put(hub, [2], data=bytes((16 << 20) - 100))
    assert ids_of(under) == [1]


def test_the_rate_is_asked_before_each_batch(hub, now, cutoff):
    put(hub, range(1000))
    limit = RateLimit(1e12)
    taken = []
    limit.wait = taken.append
    with cutoff(now(), limit=limit).read(find=SORTED, batch_bytes=5000) as read:
        assert [len(batch) for batch in read] == taken


def test_nothing_is_left_behind(hub, now, cutoff):
    put(hub, range(1000))
    under = cutoff(now(), "stream")

    def opened():
        return hub.db.command("serverStatus")["metrics"]["cursor"]["open"]["total"]

    before = opened()
    for batch in under.read(find=SORTED, first_rows=2, batch_bytes=100):
        assert documents(batch)
        break
    with under.read(find=SORTED) as read:
        assert sum(map(len, map(documents, read))) == 1000
    under.close()
    assert opened() == before


def test_a_read_is_read_once_and_its_exclusions_come_last(hub, now, cutoff):
    put(hub, range(10))
    read = cutoff(now()).read(find=SORTED)
    with pytest.raises(RuntimeError, match="known when"):
        _ = read.excluded
    assert list(read)
    with pytest.raises(RuntimeError, match="read once"):
        list(read)


def test_the_present_covers_what_was_written_before(hub, now):
    before = now()
    put(hub, [1])
    time = now()
    assert before < hub.db.rows.find_one()[STAMP] < time
    assert present_time(hub._connection) >= time
    assert present_time(hub._connection, hub.db.name, fresh=True) >= time


def test_a_moment_is_given_in_many_forms(hub):
    expected = Timestamp(int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()), 0)
    moments = ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T01:00+01:00", date(2026, 1, 2), expected.time]
    moments += [datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), np.datetime64("2026-01-02"), expected]
    moments += [float(expected.time), np.float64(expected.time), datetime(2026, 1, 1, 23, 59, 59, 1)]
    assert {as_time(moment, hub._connection, hub.db.name) for moment in moments} == {expected}


def test_this_very_moment_covers_what_was_put_before_it(hub):
    put(hub, [1])
    time = as_time(datetime.now(UTC), hub._connection, hub.db.name)
    with Cutoff(hub._connection, hub.db.name, "rows", time) as under:
        assert ids_of(under) == [1]
    assert as_time(None, hub._connection, hub.db.name) >= time


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("yesterday", "not an ISO date"),
        (True, "of type bool is no moment"),
        ([], "of type list is no moment"),
        (float("nan"), "no moment"),
        (-5, "outside of the years"),
        (Timestamp(0, 0), "before any write"),
        (Timestamp(2**32 - 1, 1), "lies in the future: the server's time is 20"),
        (timedelta(days=1), "no moment"),
        (np.datetime64("NaT"), "no moment"),
        ([10**12, 1], "is no cluster time"),
        (1_795_187_305_000, "outside of the years(.|\n)*may be milliseconds"),
        ("x" * 1000, "as_of: 'x{99}\\.\\.\\. is not an ISO date"),
    ],
)
def test_what_is_no_moment_is_refused(hub, moment, told):
    with pytest.raises(FeedError, match=told):
        as_time(moment, hub._connection, hub.db.name)


def test_the_future_is_refused(hub):
    with pytest.raises(FeedError, match="lies in the future") as error:
        as_time(datetime.now(UTC) + timedelta(days=1), hub._connection, hub.db.name)
    assert "Leave as_of out" in str(error.value)
    assert "zone" not in str(error.value)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_moment_without_a_zone_is_utc_and_who_meant_another_is_told(hub, as_text):
    moment = (datetime.now(UTC) + timedelta(hours=3)).replace(tzinfo=None)
    with pytest.raises(FeedError, match="without a zone is taken for UTC"):
        as_time(moment.isoformat() if as_text else moment, hub._connection, hub.db.name)
    earlier = datetime(2026, 1, 31, 12)
    times = [as_time(each, hub._connection, hub.db.name) for each in (earlier, earlier.replace(tzinfo=UTC))]
    assert times[0] == times[1]


def test_a_time_that_pandas_does_not_have_is_refused(hub):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(FeedError, match="NaT is no moment"):
        as_time(pandas.NaT, hub._connection, hub.db.name)
