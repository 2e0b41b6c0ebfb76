"""A clustered collection is read by ``min`` and ``max``: faster, and the same rows as by a filter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from bson import Binary, DatetimeMS, Decimal128, MaxKey, MinKey, ObjectId, Timestamp

from nemesyst.feed.plan.spans import spanned

TIME = datetime(2026, 1, 1, tzinfo=UTC)
IDS = [
    None,
    MinKey(),
    MaxKey(),
    float("nan"),
    *(number - 100.5 for number in range(200)),
    *(Decimal128(str(number)) for number in range(1000, 1100)),
    *(f"text {number}" for number in range(200)),
    *({"unit": number % 7, "t": number} for number in range(300)),
    *(Binary(bytes([number])) for number in range(150)),
    *(ObjectId(f"{number:024x}") for number in range(150)),
    False,
    True,
    *(TIME + timedelta(seconds=number) for number in range(150)),
    *(Timestamp(number, 1) for number in range(1, 150)),
]
"""Of every type that an ``_id`` can have."""


@pytest.fixture
def clustered(hub):
    rows = hub.db.create_collection("rows", clusteredIndex={"key": {"_id": 1}, "unique": True})
    order = np.random.default_rng(0).permutation(len(IDS))
    rows.insert_many([{"_id": IDS[i], "x": float(i)} for i in order])
    return hub


def test_ids_of_every_type_come_once_in_the_servers_order(clustered):
    expected = [row["x"] for row in clustered.db["rows"].find(sort=[("_id", 1)])]
    feed = clustered.feed("rows", inputs="x", batch_size=100)
    assert feed.to_numpy()["x"].ravel().tolist() == expected
    assert sorted(clustered.feed("rows", inputs="x", shuffle=True).to_numpy()["x"].ravel()) == sorted(expected)


def test_the_plan_is_that_of_the_same_rows_under_an_index(clustered):
    clustered.db["plain"].insert_many(list(clustered.db["rows"].find()))
    plans = [clustered.feed(name, inputs="x").lineage() for name in ("rows", "plain")]
    assert plans[0]["bounds"] == plans[1]["bounds"]
    assert plans[0]["digest"] == plans[1]["digest"]


def test_the_server_evaluates_no_filter(clustered):
    find = {"find": "rows", **spanned({"filter": {"_id": {"$gte": 1.0, "$lt": 50.0}}, "sort": {"_id": 1}})}
    plan = clustered.db.command("explain", find, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    assert plan["stage"] == "CLUSTERED_IXSCAN"
    assert "filter" not in plan


@pytest.mark.parametrize("query", [{}, {"_id": {"$eq": None}}, {"_id": {"$gte": 1}, "x": 1}, {"unit": {"$gte": 1}}])
def test_other_filters_stay(query):
    assert spanned({"filter": query}) == {"filter": query}


def test_a_range_without_an_end_ends_with_its_type():
    assert spanned({"filter": {"_id": {"$gte": "a"}}})["max"] == {"_id": {}}
    assert spanned({"filter": {"_id": {"$gte": DatetimeMS(0)}}})["max"] == {"_id": Timestamp(0, 0)}
    assert spanned({"filter": {"_id": {"$gte": Timestamp(1, 1)}}})["max"] == {"_id": MaxKey()}
