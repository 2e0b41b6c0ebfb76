"""A feed over what is no plain collection of plain rows: odd servers, odd users, odd collections, odd documents."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pymongo
import pytest
from bson import Decimal128, Int64

import nemesyst as nm
from nemesyst.database import RateLimit
from nemesyst.errors import DatabaseError, FeedError, FieldError, NemesystError, UnsupportedServerError
from nemesyst.feed import Place, bind

from ..database.servers import Node, ReplicaSet, add_user, key_file, running, until  # noqa: TID252 - no package

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)


def put_rows(hub, first, stop, name="rows"):
    hub.put(name, ({"i": i, "v": i / 2} for i in range(first, stop)))


def numbers(feed):
    return sorted(int(i) for batch in feed for i in batch["x"][:, 0])


@contextmanager
def writing(hub, first):
    """Three clients that insert rows from ``first`` on, while others are read."""
    stop = threading.Event()

    def insert(begin):
        number = begin
        while not stop.is_set():
            hub.db.rows.insert_many([{"i": number + n, "v": 0.0} for n in range(50)])
            number += 150

    threads = [threading.Thread(target=insert, args=(first + 50 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def forgetful(tmp_path):
    """A hub whose server keeps a second of its history."""
    short = "minSnapshotHistoryWindowInSeconds=1"
    node = Node(tmp_path / "node", "--replSet", "rs", "--syncdelay", 1, "--setParameter", short)
    with running(node), nm.connect(ReplicaSet(node).address, home=tmp_path) as hub:
        yield hub


def forget_history(hub, feed):
    """Write until the server cannot read at the feed's cutoff any more."""
    concern = {"level": "snapshot", "atClusterTime": feed._family.binding.time}

    def over():
        hub.db.other.insert_one({})
        try:
            hub.db.command({"find": "rows", "readConcern": concern})
        except pymongo.errors.OperationFailure as error:
            return error.code in (239, 246)
        return False

    until(over)


def test_a_feed_goes_on_when_the_server_forgets_its_cutoff_and_tells_what_has_changed(forgetful):
    hub = forgetful
    put_rows(hub, 0, 20_000)
    feed = hub.feed("rows", inputs=["i", "v"], cache=False)
    with writing(hub, 100_000):
        assert numbers(feed) == list(range(20_000))
    assert feed.lineage()["changed"] == []
    state = feed.state_dict()
    hub.db.rows.update_one({"i": 70}, {"$set": {"v": -1.0}})
    hub.db.rows.delete_one({"i": 5000})
    with writing(hub, 10_000_000):
        forget_history(hub, feed)
        wanted = [i for i in range(20_000) if i != 5000]
        assert numbers(feed) == wanted
        assert feed._family.binding.cutoff.way == "stream"
        changed = feed.lineage()["changed"]
        assert len(changed) == 2
        assert changed[0] == 1
        again = hub.feed("rows", inputs=["i", "v"], shard=(0, 1), cache=False)
        again.load_state_dict(state)
        assert numbers(again) == wanted


def test_a_shuffled_epoch_goes_on_while_its_history_is_forgotten(forgetful):
    hub = forgetful
    put_rows(hub, 0, 20_000)
    stages = [{"$match": {"v": {"$gte": 0}}}, {"$project": {"_id": 0, "i": 1}}]
    feed = hub.feed("rows", pipeline=stages, inputs="i", shuffle=True, batch_size=50, cache=False)
    found = []
    with writing(hub, 100_000):
        for step, batch in enumerate(feed):
            found += batch["x"][:, 0].astype(int).tolist()
            if step == 2:
                forget_history(hub, feed)
    assert sorted(found) == list(range(20_000))


def test_a_view_is_read_as_the_collection_that_it_is_over(hub):
    put_rows(hub, 0, 1000)
    hub.db.command("create", "warm", viewOn="rows", pipeline=[{"$match": {"i": {"$gte": 100}}}])
    hub.db.command("create", "warmer", viewOn="warm", pipeline=[{"$set": {"v": {"$multiply": ["$v", 2]}}}])
    feed = hub.feed("warmer", inputs=["i", "v"], pipeline=[{"$match": {"i": {"$lt": 200}}}])
    put_rows(hub, 100, 200)
    for _ in range(2):
        np.testing.assert_array_equal(feed.to_numpy()["x"], [[i, i] for i in range(100, 200)])
    state = feed.state_dict()
    feed.load_state_dict(state)
    assert len(feed.to_numpy()["x"]) == 100


def test_a_time_series_is_read_up_to_its_cutoff_and_late_rows_are_told(hub):
    hub.db.create_collection("series", timeseries={"timeField": "t", "metaField": "unit"})
    hub.db.series.insert_many([{"t": START + timedelta(minutes=i), "unit": i % 3, "i": i} for i in range(2000)])
    feed = hub.feed("series", inputs="i", cache=False)
    hub.db.series.insert_one({"t": datetime.now(UTC) + timedelta(days=1), "unit": 1, "i": 5000})
    assert numbers(feed) == list(range(2000))
    assert feed.lineage()["changed"] == []
    hub.db.series.insert_one({"t": START + timedelta(seconds=1), "unit": 1, "i": 6000})
    assert numbers(feed) == [*range(2000), 6000]
    assert feed.lineage()["changed"] == [0]


def test_a_capped_collection_is_read(hub):
    hub.db.create_collection("capped", capped=True, size=1_000_000)
    put_rows(hub, 0, 1000, "capped")
    feed = hub.feed("capped", inputs="i")
    for _ in range(2):
        assert numbers(feed) == list(range(1000))


def test_a_standalone_server_gives_rows_and_refuses_what_needs_a_time(tmp_path):
    node = Node(tmp_path / "node")
    with running(node), nm.connect(f"mongodb://{node.host}/", home=tmp_path) as hub:
        put_rows(hub, 0, 5000)
        feeds = [hub.feed("rows", inputs="i", shuffle=True, shard=(rank, 2), even=True) for rank in range(2)]
        assert sorted(numbers(feeds[0]) + numbers(feeds[1])) == list(range(5000))
        assert len(feeds[0]) == len(feeds[1])
        with pytest.raises(FeedError, match="without a cutoff(.|\n)*replica set"):
            feeds[0].state_dict()
        with pytest.raises(UnsupportedServerError, match="as_of: a standalone server"):
            hub.feed("rows", inputs="i", as_of="2026-01-01")
        put_rows(hub, 5000, 5100)
        assert numbers(hub.feed("rows", inputs="i")) == list(range(5100))


def test_a_user_who_may_only_read_one_database_has_a_whole_feed(tmp_path):
    access = {"username": "root", "password": "root"}
    node = Node(tmp_path / "node", "--replSet", "rs", "--keyFile", key_file(tmp_path))
    with running(node):
        address = ReplicaSet(node).address
        until(node.leads)
        with node.client() as local:
            add_user(local, "root", "root", ("root", "admin"))
        with nm.connect(address, home=tmp_path, **access) as root:
            put_rows(root, 0, 5000)
            add_user(root.db.client, "reader", "reader", ("read", "data"))
        with nm.connect(address, home=tmp_path, username="reader", password="reader") as hub:
            spec = nm.Feed("rows", inputs=["i", "v"], shuffle=True, batch_size=100)
            feed = hub.feed(spec)
            batches = iter(feed)
            given = [int(i) for _ in range(7) for i in next(batches)["x"][:, 0]]
            state = feed.state_dict()
            batches.close()
            rest = []
            for rank in range(2):
                other = hub.feed(spec, shard=(rank, 2), even=True)
                other.load_state_dict(state)
                rest += numbers(other)
            assert sorted(given + rest) == list(range(5000))
            assert numbers(feed) == list(range(5000))  # a second epoch, out of the cache
            scaled = hub.feed("rows", inputs="v", scale="standard", split=nm.Split(test=0.2), as_of=None)
            assert abs(np.concatenate([batch["x"] for batch in scaled.train]).std() - 1) < 1e-3
            assert feed.lineage()["rows"] == {"all": 5000}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"v": "cold"}, r"field v: document .*HERE holds 'cold': kinds differ|field v holds texts.*HERE.*1 rows"),
        ({}, r"field v is missing in document HERE \(1 of"),
        ({"v": None}, r"field v is null in document HERE \(1 of"),
        ({"v": [1.0, 2.0]}, r"field v.*HERE"),
    ],
)
@pytest.mark.parametrize("place", [15_000.5, "bad"])
def test_one_bad_row_among_many_is_told_with_field_id_and_count(hub, bad, said, place):
    hub.db.rows.insert_many([{"_id": i, "i": i, "v": i / 2} for i in range(30_000)])
    hub.db.rows.insert_one({"_id": place, "i": -1, **bad})
    said = said.replace("HERE", repr(place))
    feed = hub.feed("rows", inputs=["i", "v"])
    with pytest.raises(FieldError, match=said):
        list(feed)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nemesyst")]


def test_documents_of_many_layouts_and_kinds_of_number_are_rows_like_others(hub):
    kinds = (int, float, Int64, lambda i: Decimal128(str(i)))
    rows = [{"_id": i, f"f{i % 97}": "x", f"g{i % 13}": i, "i": kinds[i % 4](i)} for i in range(20_000)]
    hub.db.rows.insert_many(rows)
    assert numbers(hub.feed("rows", inputs="i")) == list(range(20_000))


def test_lists_of_different_lengths_are_told(hub):
    hub.db.rows.insert_many([{"_id": i, "v": [0.0] * (3 if i != 15_000 else 2)} for i in range(20_000)])
    with pytest.raises(FieldError, match=r"v.*15000"):
        list(hub.feed("rows", inputs="v"))


def test_empty_documents_are_told_or_left_out(hub):
    hub.db.rows.insert_many([{"i": 1}, {}, {"i": 2}, {}])
    with pytest.raises(FieldError, match="field i is missing in document .*2 of 4"):
        list(hub.feed("rows", inputs="i"))
    assert numbers(hub.feed("rows", inputs="i", missing="drop")) == [1, 2]


def test_a_collection_of_nothing_but_empty_documents_is_told(hub):
    hub.db.rows.insert_many([{} for _ in range(10)])
    with pytest.raises(FieldError, match="no document of rows has field 'i'"):
        hub.feed("rows", inputs="i")


def test_documents_of_sixteen_megabytes_are_rows(hub):
    most = 16 * 1024 * 1024 - 200
    for i in range(4):
        hub.db.rows.insert_one({"_id": i, "i": i, "pad": bytes(most if i % 2 else 10)})
    hub.db.rows.insert_many([{"_id": i, "i": i} for i in range(4, 500)])
    assert numbers(hub.feed("rows", inputs="i", shuffle=True)) == list(range(500))


def drop(hub):
    hub.db.rows.drop()


def rename(hub):
    hub.db.rows.rename("others")


def replace(hub):
    hub.db.rows.drop()
    put_rows(hub, 0, 100)


@pytest.mark.parametrize("preference", [None, "stream"])
@pytest.mark.parametrize("harm", [drop, rename, replace])
def test_a_collection_that_goes_while_it_is_read_is_told(hub, harm, preference):
    put_rows(hub, 0, 20_000)
    feed = hub.feed("rows", inputs="i", batch_size=10, cache=False)
    if preference == "stream":
        assert feed._family.binding.cutoff.way
        feed._family.binding.cutoff.give_up("history", DatabaseError("over"))
    batches = iter(feed)
    next(batches)
    harm(hub)
    with pytest.raises(NemesystError, match=r"rows.*(dropped|renamed)(.|\n)*Bind the feed again"):
        list(batches)


def test_what_is_read_is_counted_against_the_rate(hub, tmp_path):
    put_rows(hub, 0, 20_000)
    clock = [0.0]

    def pause(seconds):
        clock[0] += seconds
        return False

    limit = RateLimit(100_000, now=lambda: clock[0], pause=pause)
    place = Place(hub._connection, hub.settings.database, hub.settings.state, limit=limit)
    spec = nm.Feed("rows", inputs="i")
    assert numbers(bind(place, spec)) == list(range(20_000))
    size = hub.db.command("collStats", "rows")["size"]
    assert size / 100_000 - 3 < clock[0] < 2 * size / 100_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages", [[{"$group": {"_id": None, "n": {"$sum": 1}}}], [{"$sort": {"n": -1}}, {"$limit": 5}]]
)
def test_a_pipeline_over_all_rows_is_refused_when_the_server_has_forgotten_the_cutoff(forgetful, stages):
    hub = forgetful
    hub.put("rows", [{"i": i, "n": i} for i in range(100)], key="i")
    feed = hub.feed("rows", inputs="n")
    time = feed.lineage()["as_of"]
    hub.put("rows", [{"i": 1000 + i, "n": 1000} for i in range(50)], key="i")
    forget_history(hub, feed)
    with pytest.raises(FeedError, match="must run as a whole.*no longer has the rows"):
        hub.feed("rows", pipeline=stages, inputs="n", as_of=time)


def test_a_query_on_dates_is_planned_though_its_bounds_lie_beyond_those_of_a_datetime(hub):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hub.db.create_collection("rows", clusteredIndex={"key": {"_id": 1}, "unique": True})
    hub.db.rows.insert_many([{"_id": start + timedelta(days=i), "i": i} for i in range(100)])
    feed = hub.feed(
        "rows", pipeline=[{"$match": {"_id": {"$gte": start + timedelta(days=40)}}}], inputs="i", scale=None
    )
    assert sorted(feed.to_numpy()["x"][:, 0].tolist()) == list(range(40, 100))
