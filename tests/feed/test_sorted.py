"""The order of rows: that of a final sort, and for the parts that nothing learns from that of the plan."""

import json

import pytest

import nemesyst as nm
from nemesyst.feed.plan import Key
from nemesyst.feed.sorting import ordered

pytestmark = pytest.mark.core

ROWS = 1500
BY_AIR = [{"$sort": {"air": -1, "t": 1}}]


@pytest.fixture
def rows(hub):
    """Rows whose air goes another way than their key; many have the same."""
    hub.put("rows", [{"t": t, "air": t * 7 % 50, "mode": "abc"[t % 3]} for t in range(ROWS)], key="t")
    return hub


def wanted(stages=BY_AIR, hub=None):
    return [int(row["t"]) for row in hub.db.rows.aggregate(stages)]


def times(feed):
    return [int(t) for batch in feed for t in batch["x"][:, 0]]


@pytest.mark.parametrize(
    "after", [[], [{"$limit": 700}], [{"$skip": 9}, {"$match": {"mode": "a"}}, {"$set": {"z": 1}}]]
)
@pytest.mark.parametrize("cache", [True, False])
def test_rows_come_in_the_order_of_a_final_sort(rows, after, cache):
    stages = [*BY_AIR, *after]
    feed = rows.feed("rows", pipeline=stages, inputs=["t", "air"], batch_size=64, cache=cache)
    assert times(feed) == times(feed) == wanted(stages, rows)


def test_each_rank_s_rows_are_in_order_and_all_ranks_have_them_once(rows):
    order = {t: place for place, t in enumerate(wanted(hub=rows))}
    shares = [times(rows.feed("rows", pipeline=BY_AIR, inputs="t", shard=(rank, 3))) for rank in range(3)]
    assert all(places == sorted(places) for places in ([order[t] for t in share] for share in shares))
    assert sorted(t for share in shares for t in share) == list(range(ROWS))


def test_a_sorted_epoch_goes_on_where_it_was(rows):
    spec = nm.Feed("rows", pipeline=BY_AIR, inputs="t", batch_size=100)
    feed, begun = rows.feed(spec), []
    for batch in feed:
        begun += [int(t) for t in batch["x"][:, 0]]
        if len(begun) == 500:
            break
    again = rows.feed(spec, cache=False)
    again.load_state_dict(json.loads(json.dumps(feed.state_dict())))
    assert begun + times(again) == wanted(hub=rows)


def test_a_sort_by_count_comes_by_count(rows):
    stages = [{"$sortByCount": {"$mod": ["$t", 4]}}, {"$set": {"t": "$_id"}}]
    rows.db.rows.delete_many({"t": {"$in": [0, 4, 5]}})
    assert times(rows.feed("rows", pipeline=stages, inputs="t")) == [2, 3, 1, 0]


@pytest.mark.parametrize(
    ("stages", "last"),
    [
        ([{"$sort": {"t": 1}}, {"$group": {"_id": "$mode"}}], {"$sort": {"_id": 1}}),
        ([{"$sort": {"t": 1}}, {"$unionWith": "other"}], {"$sort": {"_id": 1}}),
        ([{"$match": {}}, {"$sort": {"t": 1, "_id": -1}}], {"$sort": {"t": 1, "_id": -1}}),
        ([{"$sort": {"t": 1}}], {"$sort": {"t": 1, "_id": 1}}),
    ],
)
def test_what_decides_on_the_order(stages, last):
    assert ordered(stages, Key())[-1] == last


def test_windows_keep_the_order_that_they_are_made_in():
    assert ordered(BY_AIR, Key(("unit", "t")))[-1] == {"$sort": {"unit": 1, "t": 1, "_id": 1}}


@pytest.mark.parametrize("cache", [True, False])
def test_only_the_train_part_is_shuffled(rows, cache):
    spec = nm.Feed("rows", inputs="t", shuffle=True, batch_size=32, split=nm.Split(validation=0.3, test=0.3))
    feed = rows.feed(spec, cache=cache)
    train = [times(feed.train), times(feed.train)]
    assert sorted(train[0]) == sorted(train[1]) != train[0] != train[1]
    for part in (feed.validation, feed.test):
        first = times(part)
        assert len(first) > 300
        assert first == sorted(first) == times(part)


def test_a_part_in_order_goes_on_where_it_was_on_more_ranks(rows):
    spec = nm.Feed("rows", inputs="t", shuffle=True, batch_size=32, split=nm.Split(test=0.5))
    feed = rows.feed(spec)
    whole, begun = times(feed.test), []
    for batch in feed.test:
        begun += [int(t) for t in batch["x"][:, 0]]
        if len(begun) >= 96:
            break
    rest = []
    for rank in range(2):
        again = rows.feed(spec, shard=(rank, 2))
        again.load_state_dict(feed.state_dict())
        rest += times(again.test)
    assert sorted(begun + rest) == whole
