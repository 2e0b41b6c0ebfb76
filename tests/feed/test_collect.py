"""Old plans and kept rows go; those that are in use, pinned or referred to stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from nemesyst.errors import SettingsError
from nemesyst.feed.plan.collect import Collected, collect

MONTH = timedelta(days=30)
LONG_AGO = datetime.now(UTC) - 2 * MONTH
GROUP = [{"$group": {"_id": "$unit", "air": {"$avg": "$air"}}}]
KINDS = {"rows": {}, "whole": {"pipeline": GROUP}, "pinned": {"pipeline": [{"$match": {"unit": 1}}]}}


@pytest.fixture
def feeds(hub):
    """A plan of rows, one of a pipeline that ran as a whole, and one that is pinned; all of them old."""
    hub.put("rows", [{"unit": i % 4, "air": float(i)} for i in range(1000)])
    feeds = {name: hub.feed("rows", inputs="air", cache=False, **given) for name, given in KINDS.items()}
    feeds["pinned"].pin()
    for feed in feeds.values():
        feed.lineage()
    age(hub)
    return feeds


def age(hub):
    for name in ("plans", "plans.kept"):
        hub.state[name].update_many({}, {"$set": {"created": LONG_AGO}, "$unset": {"used": 1}})


def left(hub, feeds):
    keys = {each["_id"] for each in hub.state.plans.find()}
    return {name for name, feed in feeds.items() if feed._family.binding.key in keys}


def run(hub, **options):
    return collect(hub._connection, hub.state.name, older_than=MONTH, **options)


def test_old_plans_go_with_all_that_belongs_to_them(hub, feeds):
    told = run(hub, dry_run=True)
    assert left(hub, feeds) == {"rows", "whole", "pinned"}
    assert run(hub) == told
    assert (told.plans, told.sets) == (2, 1)
    assert told.bytes > 1000
    assert left(hub, feeds) == {"pinned"}
    plans = {each["_id"]["plan"] for name in ("bounds", "parts") for each in hub.state[f"plans.{name}"].find()}
    assert plans == {feeds["pinned"]._family.binding.key}
    assert run(hub) == Collected()


def test_a_pinned_set_can_be_read_afterwards(hub, feeds):
    moment = feeds["pinned"].state_dict()["as_of"]
    run(hub)
    hub.db.rows.delete_many({})
    again = hub.feed("rows", inputs="air", as_of=moment, cache=False, **KINDS["pinned"])
    assert len(again.to_numpy()["x"]) == 250


def test_what_is_referred_to_stays(hub, feeds):
    keys = [feeds["rows"].lineage()["plan"]]
    age(hub)
    assert run(hub, in_use=keys).plans == 1
    assert left(hub, feeds) == {"rows", "pinned"}
    assert run(hub, in_use=lambda key: key in keys) == Collected()


def test_what_was_used_lately_stays(hub, feeds):
    key = feeds["rows"]._family.binding.key
    hub.state.plans.update_one({"_id": key}, {"$set": {"used": datetime.now(UTC)}})
    assert run(hub).plans == 1
    assert left(hub, feeds) == {"rows", "pinned"}


def test_a_set_that_somebody_reads_stays(hub, feeds):
    moment = feeds["whole"].state_dict()["as_of"]
    age(hub)
    again = hub.feed("rows", inputs="air", as_of=moment, cache=False, **KINDS["whole"])
    assert run(hub).sets == 0
    assert len(again.to_numpy()["x"]) == 4


def test_a_feed_goes_on_when_its_plan_was_collected(hub, feeds):
    feed = feeds["rows"]
    wanted = feed.to_numpy()["x"].tolist()
    run(hub)
    assert feed.to_numpy()["x"].tolist() == wanted
    assert hub.feed("rows", inputs="air", cache=False).to_numpy()["x"].tolist() == wanted


def test_chunks_of_a_process_that_died_go(hub):
    old, young = ObjectId.from_datetime(LONG_AGO), ObjectId()
    rows = [{"_id": {"set": name, "chunk": n}, "data": b"x" * 100} for name in (old, young) for n in range(3)]
    hub.state["plans.rows"].insert_many(rows)
    hub.state["plans.kept"].insert_one({"_id": "dead:claim", "making": old, "expires": LONG_AGO})
    found = run(hub)
    assert (found.plans, found.sets) == (0, 1)
    assert {each["_id"]["set"] for each in hub.state["plans.rows"].find()} == {young}
    assert hub.state["plans.kept"].count_documents({}) == 0


def test_kept_rows_in_blobs_are_told(hub):
    hub.put("large", [{"unit": i, "x": [float(i)] * 5000} for i in range(20)])
    feed = hub.feed("large", inputs="x", pipeline=[{"$sort": {"unit": 1}}, {"$limit": 15}], cache=False)
    feed.lineage()
    age(hub)
    found = run(hub)
    assert found.blobs == {each["_id"] for each in hub.state.blobs.find()}
    assert len(found.blobs) == 1


@pytest.mark.parametrize("older_than", [timedelta(0), timedelta(hours=1), 30])
def test_what_is_young_cannot_be_asked_for(hub, older_than):
    with pytest.raises(SettingsError, match=r"older_than=(.|\n)*two hours or more"):
        collect(hub._connection, hub.state.name, older_than=older_than)


def test_an_empty_state_has_nothing_to_collect(hub):
    assert run(hub) == Collected()
