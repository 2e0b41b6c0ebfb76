"""Sets of kept rows: made once, whole, whoever dies or stands still on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from nemesyst.database import Keeping
from nemesyst.errors import DatabaseError


@pytest.fixture
def keeping(hub):
    """Two processes that keep rows."""
    return [Keeping(hub._connection, hub.state.name) for _ in range(2)]


def expire(hub):
    hub.state["plans.kept"].update_one({"_id": "k:claim"}, {"$set": {"expires": datetime.now(UTC) - timedelta(1)}})


def test_a_set_is_made_by_who_claims_it_first(hub, keeping):
    one, other = keeping
    name = ObjectId()
    assert one.claim("k", name) is None
    assert not other._claimed("k", ObjectId())
    one.store(name, 0, b"rows")
    made = one.finish("k", name, [4], pinned=False)
    assert made.rows == (4,)
    assert other.claim("k", ObjectId()) == made
    assert other.load(made.name, 0) == b"rows"


def test_who_stood_still_does_not_make_a_set_of_what_was_taken_from_him(hub, keeping):
    one, other = keeping
    mine, others = ObjectId(), ObjectId()
    assert one.claim("k", mine) is None
    one.store(mine, 0, b"one")
    expire(hub)
    assert other.claim("k", others) is None  # takes him for dead, and removes his chunks
    one.store(mine, 1, b"two")
    expire(hub)
    with pytest.raises(DatabaseError, match="stood still for so long"):
        one.finish("k", mine, [1, 1], pinned=False)
    assert one.find("k") is None
    assert hub.state["plans.rows"].count_documents({}) == 0


def test_who_stood_still_gets_the_set_of_who_took_over(hub, keeping):
    one, other = keeping
    mine, others = ObjectId(), ObjectId()
    one.claim("k", mine)
    expire(hub)
    other.claim("k", others)
    other.store(others, 0, b"rows")
    made = other.finish("k", others, [1], pinned=False)
    assert one.finish("k", mine, [1], pinned=False) == made
    assert one.load(made.name, 0) == b"rows"


def test_a_claim_lasts_by_the_clock_of_the_server(hub, keeping):
    keeping[0].claim("k", ObjectId())
    now = hub.db.client.admin.command("hello")["localTime"]
    left = hub.state["plans.kept"].find_one({"_id": "k:claim"})["expires"] - now
    assert timedelta(0) < left <= timedelta(seconds=20)


def test_use_is_noted_once_an_hour(hub, keeping):
    name = ObjectId()
    keeping[0].claim("k", name)
    keeping[0].store(name, 0, b"rows")
    keeping[0].finish("k", name, [1], pinned=False)
    sets = hub.state["plans.kept"]
    keeping[1].find("k")
    assert "used" not in sets.find_one({"_id": "k"})
    sets.update_one({"_id": "k"}, {"$set": {"created": datetime.now(UTC) - timedelta(days=40)}})
    keeping[1].find("k")
    assert "used" in sets.find_one({"_id": "k"})
