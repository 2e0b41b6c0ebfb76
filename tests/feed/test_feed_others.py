"""Other collections that a feed reads, once the server has forgotten the cutoff: as they were, or not at all."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import pymongo
import pytest
from bson import Timestamp

import nemesyst as nm
from nemesyst.errors import FeedError

from ..database.servers import Node, ReplicaSet, running, until  # noqa: TID252 - the tests are no package

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server that keeps a second of its history."""
    folder = tmp_path_factory.mktemp("forgetful")
    short = "minSnapshotHistoryWindowInSeconds=1"
    node = Node(folder / "node", "--replSet", "rs", "--syncdelay", 1, "--setParameter", short)
    with running(node):
        yield ReplicaSet(node).address


def opened(address, tmp_path, database):
    """A hub with a state of its own, so that no plan is known to it."""
    return nm.connect(address, database=database, state=f"state_{uuid.uuid4().hex[:8]}", home=tmp_path)


@pytest.fixture
def hub(address, tmp_path):
    """A hub with rows, sites, a view of the sites and what the sites are looked up in."""
    with opened(address, tmp_path, f"data_{uuid.uuid4().hex[:8]}") as hub:
        hub.put("rows", [{"i": i, "site": i % 5, "t": i} for i in range(100)])
        hub.put("sites", [{"site": n, "t": 0, "w": 10.0 * n} for n in range(5)])
        hub.put("more", [{"site": n, "v": float(n)} for n in range(5)])
        hub.db.command("create", "some", viewOn="sites", pipeline=[{"$match": {"w": {"$gte": 0}}}])
        yield hub


def forget(hub, moment):
    concern = {"level": "snapshot", "atClusterTime": Timestamp(*moment)}

    def over():
        hub.db.elsewhere.insert_one({})
        try:
            hub.db.command({"find": "rows", "readConcern": concern})
        except pymongo.errors.OperationFailure as error:
            return error.code in (239, 246)
        return False

    until(over)


def looking_up(name):
    found = {"from": name, "localField": "site", "foreignField": "site", "as": "found"}
    return [{"$lookup": found}, {"$set": {"w": {"$sum": "$found.w"}, "v": {"$sum": "$found.v"}}}, {"$unset": "found"}]


GRAPH = {"from": "sites", "startWith": "$site", "connectFromField": "t", "connectToField": "site", "as": "found"}
WAYS = {
    "lookup": {"pipeline": looking_up("sites"), "inputs": "w"},
    "lookup of a view": {"pipeline": looking_up("some"), "inputs": "w"},
    "graph": {"pipeline": [{"$graphLookup": GRAPH}, {"$set": {"w": {"$sum": "$found.w"}}}], "inputs": "w"},
    "join of a view": {"join": nm.AsOf("some", by="site", on="t", fields=["w"]), "inputs": "w"},
    "once": {"pipeline": [*looking_up("sites"), {"$sort": {"w": 1}}, {"$limit": 50}], "inputs": "w"},
    "union": {"pipeline": [{"$set": {"w": 1.0}}, {"$unionWith": "sites"}], "inputs": "w"},
}


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_rows_of_others_that_have_changed_are_refused(hub, address, tmp_path, way, stamped):
    moment = hub.feed("rows", inputs="i").lineage()["as_of"]
    rows = [{"site": n, "t": 1, "w": 1000.0} for n in range(5)]
    hub.put("sites", rows) if stamped else hub.db.sites.insert_many(rows)
    forget(hub, moment)
    with (
        opened(address, tmp_path, hub.db.name) as late,
        pytest.raises(FeedError, match="server no longer has (it|the rows) as (it was|they were)"),
    ):
        late.feed("rows", as_of=moment, cache=False, **WAYS[way]).to_numpy()


@pytest.mark.parametrize("way", ["lookup", "lookup of a view", "graph", "join of a view"])
def test_rows_of_others_that_are_as_they_were_are_read_late_too(hub, address, tmp_path, way):
    wanted = hub.feed("rows", cache=False, **WAYS[way])
    moment = wanted.lineage()["as_of"]
    hub.put("rows", [{"i": 1000, "site": 1, "t": 1000}])
    forget(hub, moment)
    with opened(address, tmp_path, hub.db.name) as late:
        found = late.feed("rows", as_of=moment, cache=False, **WAYS[way]).to_numpy()["x"]
    assert found.tolist() == wanted.to_numpy()["x"].tolist()


def test_what_the_pipeline_of_a_join_looks_up_is_under_the_cutoff_too(hub, address, tmp_path):
    join = nm.AsOf("sites", by="site", on="t", fields=["v"], pipeline=looking_up("more"))
    feed = hub.feed("rows", inputs="v", join=join, cache=False)
    wanted, moment = feed.to_numpy()["x"].tolist(), feed.lineage()["as_of"]
    hub.put("sites", [{"site": n, "t": 1, "w": 0.0} for n in range(5)])
    forget(hub, moment)
    with opened(address, tmp_path, hub.db.name) as late:
        assert late.feed("rows", inputs="v", join=join, as_of=moment, cache=False).to_numpy()["x"].tolist() == wanted
        hub.db.more.update_many({}, {"$set": {"v": 1e6}})
        with pytest.raises(FeedError, match="more, which is read with it, has changed since the cutoff"):
            late.feed("rows", inputs="v", join=join, as_of=moment, cache=False).to_numpy()


def test_what_a_time_series_looks_up_must_be_as_it_was(hub):
    hub.db.create_collection("series", timeseries={"timeField": "when", "metaField": "site"})
    hub.db.series.insert_many([{"when": datetime(2026, 1, 1, tzinfo=UTC), "site": n, "i": n} for n in range(5)])
    feed = hub.feed("series", pipeline=looking_up("sites"), inputs="w", cache=False)
    assert sorted(feed.to_numpy()["x"][:, 0].tolist()) == [0, 10, 20, 30, 40]
    hub.db.sites.update_one({"site": 1}, {"$set": {"w": 5.0}})
    with pytest.raises(FeedError, match="sites, which is read with it, has changed since the cutoff"):
        feed.to_numpy()
    assert sorted(feed.refresh().to_numpy()["x"][:, 0].tolist()) == [0, 5, 20, 30, 40]


def test_a_time_series_that_is_looked_up_is_refused_once_the_cutoff_is_forgotten(hub):
    hub.db.create_collection("series", timeseries={"timeField": "when", "metaField": "site"})
    hub.db.series.insert_many([{"when": datetime(2026, 1, 1, tzinfo=UTC), "site": n, "w": 1.0} for n in range(5)])
    feed = hub.feed("rows", pipeline=looking_up("series"), inputs="w", cache=False)
    assert feed.to_numpy()["x"].sum() == 100
    forget(hub, feed.state_dict()["as_of"])
    with pytest.raises(FeedError, match=r"series, .* may have changed \(a time-series collection does not tell\)"):
        feed.to_numpy()


def test_a_feed_of_a_time_series_moves_on(hub):
    def put(count, first):
        hub.db.series.insert_many([{"when": datetime.now(UTC), "i": first + n} for n in range(count)])

    hub.db.create_collection("series", timeseries={"timeField": "when"})
    put(50, 0)
    feed = hub.feed("series", inputs="i")
    assert feed.lineage()["rows"] == {"all": 50}
    assert hub.feed("series", inputs="i").lineage()["plan"] == feed.lineage()["plan"]
    second = int(time.time())
    until(lambda: int(time.time()) > second + 1)  # a cutoff of a time-series counts in seconds
    put(20, 100)
    assert hub.feed("series", inputs="i").lineage()["rows"] == {"all": 70}
    assert feed.refresh().lineage()["rows"] == {"all": 70}


def test_a_feed_sees_at_once_what_came_into_a_view_that_it_looks_up(hub):
    assert hub.feed("rows", inputs="w", pipeline=looking_up("some")).to_numpy()["x"].sum() == 2000
    hub.feed("rows", inputs="w", pipeline=looking_up("some")).lineage()
    hub.db.sites.update_many({}, {"$set": {"w": 1.0}})
    assert hub.feed("rows", inputs="w", pipeline=looking_up("some")).to_numpy()["x"].sum() == 100


ROOT = {"$objectToArray": "$$ROOT"}
SCHEMA = {"properties": {name: {} for name in ("_id", "_stamp", "i", "site", "t")}, "additionalProperties": False}


@pytest.mark.parametrize(
    "stages",
    [
        [{"$set": {"i": {"$size": ROOT}}}, {"$project": {"_id": 0, "i": 1}}],
        [{"$project": {"_id": 0, "i": {"$size": {"$objectToArray": "$$CURRENT"}}}}],
        [{"$match": {"$jsonSchema": SCHEMA}}, {"$replaceWith": {"i": "$t"}}],
        [{"$set": {"one": 1}}, {"$match": {"$expr": {"$eq": [{"$size": ROOT}, 6]}}}, {"$replaceWith": {"i": "$t"}}],
        [
            {"$redact": {"$cond": [{"$gt": [{"$size": ROOT}, 5]}, "$$PRUNE", "$$KEEP"]}},
            {"$project": {"_id": 0, "i": 1}},
        ],
    ],
)
def test_whole_documents_are_the_same_when_their_id_is_carried_along(hub, stages):
    feed = hub.feed("rows", pipeline=stages, inputs="i", cache=False)
    wanted = feed.to_numpy()["x"].tolist()
    hub.put("rows", [{"i": 1000, "site": 1, "t": 1000}])
    forget(hub, feed.state_dict()["as_of"])
    assert feed.to_numpy()["x"].tolist() == wanted
    assert feed._family.binding.cutoff.way == "stream"
