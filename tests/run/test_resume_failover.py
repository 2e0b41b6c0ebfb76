"""A training whose database loses its primary half way: it goes on, and what it kept is there afterwards."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.run.recording import recorded
from nemesyst.run.records import Work
from nemesyst.stages import Alone, CheckpointWarning, JobContext, Silent, stage_of, work

from ..database.servers import Node, ReplicaSet, running  # noqa: TID252 - the tests are no package that has a name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEED = nm.Feed("rows", inputs=["a"], targets="y", batch_size=10, shuffle=True)
EPOCHS = 4


@pytest.fixture
def trio(tmp_path):
    """Three nodes as one replica set."""
    nodes = [Node(tmp_path / str(n), "--replSet", "rs", "--oplogSize", "200") for n in range(3)]
    with running(*nodes):
        yield ReplicaSet(*nodes)


def test_the_primary_is_killed_and_training_goes_on(trio, names):
    steps = []

    @nm.learner(FEED, model="m")
    def learn(run):
        weights = {"w": np.zeros(50_000)}
        for epoch in run.epochs(EPOCHS):
            for batch in run.feed.train:
                weights["w"] += batch["x"].mean()
                steps.append(epoch)
                run.log({"loss": 1.0}, step=len(steps))
                run.checkpoint(step=len(steps), model=weights)
                if len(steps) == 15:
                    trio.primary.kill()
        return nm.Trained(weights, metrics={"steps": len(steps)})

    with warnings.catch_warnings(), nm.connect(trio.address, **names) as hub:
        warnings.simplefilter("ignore", CheckpointWarning)  # that one waits is told
        hub.put("rows", [{"i": n, "a": float(n), "y": 0.0} for n in range(100)], key="i")
        with recorded(hub, Work("script.py", "learn", "learn", "m"), Alone()) as recorder:
            context = JobContext(progress=recorder.watching(Silent()), recorder=recorder)
            work(hub, stage_of(learn), {}, context)
            kept = recorder._checkpoints()  # the newest one is stored as soon as there is a primary again
            assert kept._writer.close(120)
            assert kept.last().step == 10 * EPOCHS
        assert len(steps) == 10 * EPOCHS
        assert hub.models.get("m").metrics["steps"] == 10 * EPOCHS
        assert hub.state.runs.find_one()["status"] == "done"
        assert hub.state.checkpoints.count_documents({}) == 0
