"""Plans in the state database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from bson import Timestamp

from nemesyst.feed.plan.store import Plan, Plans

pytestmark = pytest.mark.core


def plans(hub):
    return Plans(hub._connection, hub.state.name)


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 3500])
def test_bounds_come_back_however_many_there_are(hub, count):
    bounds = [(i,) for i in range(count)]
    plan = Plan("key", "rows", Timestamp(5, 1), {"most": 64}, bounds)
    assert plans(hub).save(plan, "database")
    found = plans(hub).load("key")
    assert list(found.bounds) == bounds
    assert found.digest == plan.digest
    assert found.about["most"] == 64


def test_whoever_comes_first_says_which_cutoff_holds(hub):
    def agreed(second):
        return plans(hub).agreed("rows", "database", Timestamp(second, 1), lambda _: True)

    with ThreadPoolExecutor(6) as ranks:
        found = set(ranks.map(agreed, range(100, 106)))
    assert len(found) == 1
    assert agreed(110) == found.pop()


def test_a_cutoff_after_which_something_was_written_is_replaced(hub):
    first, second = Timestamp(100, 1), Timestamp(101, 1)
    assert plans(hub).agreed("rows", "database", first, lambda _: True) == first
    assert plans(hub).agreed("rows", "database", second, lambda _: False) == second
    assert plans(hub).agreed("rows", "database", Timestamp(102, 1), lambda _: True) == second
