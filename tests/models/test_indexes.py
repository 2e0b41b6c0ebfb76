"""Each query that the API makes goes through an index and looks at little more than it returns.

The server itself says so: its profiler writes down every operation with the keys and documents that it examined.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nemesyst.errors import UnknownModelError

pytestmark = pytest.mark.slow

SPARE = 8  # keys examined beyond those returned: the end of a range, jumps between distinct values


@pytest.fixture
def fleet(models):
    """300 versions of 100 sites and 42 other models; every site's second version is champion."""
    pairs = [(f"air[site{n:03}]", {"w": np.full(2, n + 100 * turn)}) for turn in range(3) for n in range(100)]
    savings = [*pairs, ("wind", {"w": np.zeros(2)}), ("zone[site007]", {"w": np.ones(2)})]
    models.save_many([(name, model) for name, model in savings], metrics={"mae": 0.5})
    models.save_many([(f"other{n}", {"w": np.zeros(2)}) for n in range(40)], metrics={"mae": 0.1})
    models.save({"w": np.ones(1)}, "air[site007]", metrics={"mae": 0.2}, tags={"customer": "north"})
    models.save_many([("wind[long]", {"w": np.zeros(2)})] * 60)
    models.promote("wind[long]@31", "champion")
    models.promote_many([(f"air[site{n:03}]@2", "champion") for n in range(100)])
    return models


@contextmanager
def profiled(state):
    """The operations on the registry's collections that are made inside; gives a list, filled at the end."""
    seen = []
    state.command("profile", 2)
    try:
        yield seen
    finally:
        state.command("profile", 0)
        seen += state["system.profile"].find({"op": {"$in": ["query", "command", "update", "remove"]}})
        state["system.profile"].drop()
    ours = {
        f"{state.name}.{name}" for name in ("versions", "aliases", "promotions", "tombstones", "blobs", "blobs.chunks")
    }
    seen[:] = [each for each in seen if each["ns"] in ours and "planSummary" in each]


TIME = datetime.now(UTC) - timedelta(days=1)
QUERIES = {
    "get by number": lambda models: models.get("air[site007]@2"),
    "get the latest": lambda models: models.get("air[site007]"),
    "get by alias": lambda models: models.get("air[site007]@champion"),
    "get by alias one of many": lambda models: models.get("wind[long]@champion"),
    "load": lambda models: models.load("air[site007]@champion"),
    "save": lambda models: models.save({"w": np.zeros(1)}, "air[site009]", parent="air[site009]@1"),
    "save a large one": lambda models: models.save({"w": np.zeros(99_999)}, "air[site009]"),
    "save many": lambda models: models.save_many([(f"air[site{n:03}]", {"w": np.zeros(1)}) for n in range(50)]),
    "promote": lambda models: models.promote("air[site007]@3", "champion"),
    "promote many": lambda models: models.promote_many([(f"air[site{n:03}]@3", "champion") for n in range(50)]),
    "rollback": lambda models: (models.promote("air[site007]@3", "champion"), models.rollback("air[site007]@champion")),
    "history": lambda models: models.history("air[site007]@champion"),
    "list an entity": lambda models: models.list("air[site007]"),
    "list a name": lambda models: models.list("wind"),
    "list the newest": lambda models: models.list(limit=5),
    "list the newest of a name": lambda models: models.list("air", limit=5),
    "list an entity of any name": lambda models: models.list(entity="site007"),
    "list by metric": lambda models: models.list("air", where={"mae": {"<": 0.3}}),
    "list by metric of any name": lambda models: models.list(where={"mae": {">": 0.1, "<": 0.3}}),
    "list by tag": lambda models: models.list(tags={"customer": "north"}),
    "list by time": lambda models: models.list("air", until=TIME),
    "query": lambda models: models.query([{"$match": {"name": "wind"}}]),
    "names": lambda models: models.names(),
    "gc": lambda models: (
        models.save_many([(f"large[{n}]", {"w": np.full(40_000, n, "f8")}) for n in range(20)]),
        models.gc(older_than=0, plans=None),
    ),
    "delete": lambda models: models.delete(["air[site007]@1"]),
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_uses_an_index_and_examines_what_it_returns(fleet, state, query):
    with profiled(state) as seen:
        QUERIES[query](fleet)
    assert seen
    for each in seen:
        what = {name: each.get(name) for name in ("ns", "planSummary", "keysExamined", "docsExamined", "nreturned")}
        assert "COLLSCAN" not in each["planSummary"], what
        useful = max(each.get("nreturned", 0), each.get("nMatched", 0), each.get("ndeleted", 0))
        assert each.get("keysExamined", 0) <= 2 * useful + SPARE, what
        assert each.get("docsExamined", 0) <= useful + SPARE, what


@pytest.mark.parametrize("ref", ["ear[site007]", "air[site107]", "air[site007]@9", "air[site007]@champoin"])
def test_what_is_not_there_is_told_by_a_few_steps_through_an_index(fleet, state, ref):
    with profiled(state) as seen, pytest.raises(UnknownModelError):
        fleet.get(ref)
    assert not [each for each in seen if "COLLSCAN" in each["planSummary"]]
    assert max(each.get("keysExamined", 0) for each in seen) <= 2 + SPARE


@pytest.mark.parametrize("ref", ["air[site007]@2", "air[site007]", "air[site007]@champion"])
def test_from_a_reference_to_its_record_it_is_one_read(fleet, state, ref):
    with profiled(state) as seen:
        fleet.get(ref)
    assert len(seen) == 1
    assert seen[0]["planSummary"].startswith("IXSCAN")
