"""Plans are noted as used, and what a join's pipeline looks up is one of its collections."""

from datetime import UTC, datetime, timedelta

import nemesyst as nm

from .test_feed_others import looking_up


def test_a_plan_that_is_bound_again_is_noted_as_used(hub):
    hub.put("rows", [{"i": i} for i in range(100)])
    key = hub.feed("rows", inputs="i", cache=False).lineage()["plan"]
    hub.state.plans.update_many({}, {"$set": {"created": datetime.now(UTC) - timedelta(days=60)}})
    assert hub.feed("rows", inputs="i", cache=False).lineage()["plan"] == key
    assert "used" in hub.state.plans.find_one({"_id": key})


def test_a_feed_sees_at_once_what_came_into_a_collection_that_its_join_looks_up(hub):
    hub.put("rows", [{"i": i, "site": i % 5, "t": i} for i in range(100)])
    hub.put("sites", [{"site": n, "t": 0, "w": 10.0 * n} for n in range(5)])
    hub.put("more", [{"site": n, "v": 1.0} for n in range(5)])
    join = nm.AsOf("sites", by="site", on="t", fields=["v"], pipeline=looking_up("more"))
    hub.feed("rows", inputs="v", join=join).lineage()
    hub.db.more.update_many({}, {"$set": {"v": 5.0}})
    assert hub.feed("rows", inputs="v", join=join).to_numpy()["x"].sum() == 500
