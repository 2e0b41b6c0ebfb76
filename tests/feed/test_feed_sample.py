"""Drawing rows at an earlier time."""

from __future__ import annotations

import pytest
from pymongo import monitoring

import nemesyst as nm
from nemesyst.feed.judging import drawn_from_all


class Pipelines(monitoring.CommandListener):
    """The pipelines that were sent."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        if "pipeline" in event.command:
            self.sent.append(event.command["pipeline"])

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


@pytest.mark.core
def test_each_sample_that_comes_first_draws_from_all_rows():
    sample = {"$sample": {"size": 5}}
    stages = [sample, {"$lookup": {"from": "a", "pipeline": [sample], "as": "x"}}, {"$unionWith": {"coll": "b"}}]
    found = drawn_from_all(stages)
    assert [next(iter(stage)) for stage in found] == ["$match", "$sample", "$lookup", "$unionWith"]
    assert [next(iter(stage)) for stage in found[2]["$lookup"]["pipeline"]] == ["$match", "$sample"]
    assert drawn_from_all([{"$match": {}}, sample]) == [{"$match": {}}, sample]
    assert drawn_from_all([]) == []


def test_rows_are_drawn_among_those_of_the_cutoff_alone(server, home, names):
    # by jumping into the collection the server would draw among these, and walk back from there to the first ones
    listener = Pipelines()
    with nm.connect(home=home, **names, event_listeners=[listener]) as hub:
        hub.put("rows", ({"i": i} for i in range(2000)))
        moment = hub.feed("rows", inputs="i").state_dict()["as_of"]
        hub.put("rows", ({"i": 10_000 + i} for i in range(20_000)))
        feed = hub.feed("rows", inputs="i", pipeline=[{"$sample": {"size": 50}}], as_of=moment)
        drawn = feed.to_numpy()["x"][:, 0]
        assert len(set(drawn.tolist())) == 50
        assert drawn.max() < 2000
        assert feed.to_numpy()["x"][:, 0].tolist() == drawn.tolist()
        sampled = [stages for stages in listener.sent if any("$sample" in stage for stage in stages)]
        plan = hub.db.command("explain", {"aggregate": "rows", "pipeline": sampled[-1], "cursor": {}})
        assert "MULTI_ITERATOR" not in str(plan)
        hub.db.client.drop_database(names["database"])
        hub.db.client.drop_database(names["state"])
