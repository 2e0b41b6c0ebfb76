"""What a run that is asked to go on takes from its checkpoint, and what it says where that cannot be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import MismatchError, ModelError, ScriptError
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import Alone, CheckpointWarning, JobContext, Run, stage_of, work
from nemesyst.stages.checkpointing import checkpoint, resume

pytestmark = pytest.mark.core

FEED = nm.Feed("rows", inputs="a", targets="y", batch_size=10)


class Keeper:
    """A recorder over checkpoints alone."""

    def __init__(self, hub, resume=True):
        self.run, self.resume = "r1", resume
        self.kept = Checkpoints(hub, "r1")

    def log(self, values, step):
        """Nothing."""

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last() if self.resume else None


@pytest.fixture
def keep(hub):
    """Make a checkpoint of a run without a feed."""

    def keep(model, optimizer=None, group=None, **also):
        keeper = Keeper(hub)
        run = Run(hub, context=JobContext(recorder=keeper, group=group or Alone()))
        checkpoint(run, 7, model, optimizer, also)
        keeper.kept.close(finished=False)

    return keep


@pytest.fixture
def go_on(hub):
    """Resume a run without a feed."""

    def go_on(model, optimizer=None, group=None, **also):
        run = Run(hub, seed=5, context=JobContext(recorder=Keeper(hub), group=group or Alone()))
        return resume(run, model, optimizer, also)

    return go_on


class Counter:
    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_a_dict_of_arrays_objects_with_a_state_and_plain_values_come_back(keep, go_on):
    keep({"w": np.arange(3.0)}, counter=Counter(4), best=0.5, history=[1, (2, None)], noise=np.eye(2))
    weights, counter = {"w": np.zeros(3)}, Counter()
    found = go_on(weights, counter=counter)
    assert (found.step, found.epoch) == (7, 0)
    assert weights["w"].tolist() == [0, 1, 2]
    assert counter.count == 4
    assert (found.also["best"], found.also["history"]) == (0.5, [1, (2, None)])
    assert np.array_equal(found.also["noise"], np.eye(2))


def test_nothing_to_go_on_from_is_none(go_on):
    assert go_on({"w": np.zeros(3)}) is None


@pytest.mark.parametrize(
    ("model", "also", "said"),
    [
        ({"w": np.zeros(4)}, {}, r"w: stored F64 \[3\], in the model F64 \[4\]"),
        ({"v": np.zeros(3)}, {}, "only in the model: v"),
        ({"w": np.zeros(3)}, {"counter": Counter()}, "also='counter' is one given to run.resume alone"),
    ],
)
def test_what_does_not_fit_is_told(keep, go_on, model, also, said):
    keep({"w": np.zeros(3)})
    with pytest.raises(MismatchError, match=f"run.resume: the checkpoint of step 7 does not fit: .*{said}") as found:
        go_on(model, **also)
    assert "without --resume" in found.value.remedy


def test_an_object_that_is_lacking_is_told(keep, go_on):
    keep({"w": np.zeros(3)}, counter=Counter())
    with pytest.raises(MismatchError, match="also='counter' is one of the checkpoint alone"):
        go_on({"w": np.zeros(3)})


def test_what_cannot_be_kept_is_told_at_once(keep):
    with pytest.raises(ModelError, match="also/thing/.* is a .*object, which cannot be kept"):
        keep({"w": np.zeros(3)}, thing=object())


@pytest.mark.parametrize("step", [-1, 1.5, None, True])
def test_a_step_that_is_none_is_told(keep, hub, step):
    with pytest.raises(ScriptError, match="run.checkpoint\\(step="):
        checkpoint(Run(hub), step, {"w": np.zeros(3)}, None, {})


class Rank(Alone):
    """One of several, of which only this one is here."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def gather(self, value):
        return [value] * self.size


def test_a_rank_that_was_not_there_gets_numbers_of_its_own(keep, go_on):
    keep({"w": np.zeros(3)}, group=Rank(0, 2))
    drawn = []
    for rank in range(4):
        go_on({"w": np.zeros(3)}, group=Rank(rank, 4))
        drawn.append(np.random.random())  # noqa: NPY002 - the global generator is what was restored
    assert drawn[0] == drawn[1]  # of a test's rank 0, twice
    assert len(set(drawn)) == 3


def test_only_rank_0_stores(keep, hub):
    keep({"w": np.zeros(3)}, group=Rank(1, 2))
    assert hub.state.checkpoints.count_documents({}) == 0


@pytest.fixture
def rows(hub):
    hub.put("rows", [{"i": n, "a": float(n), "y": 2.0 * n} for n in range(50)], key="i")
    return hub


def learn(hub, function, *, resume):
    keeper = Keeper(hub, resume)
    try:
        return work(
            hub, stage_of(nm.learner(FEED, model="m", promote="champion")(function)), {}, JobContext(recorder=keeper)
        )
    finally:
        keeper.kept.close(finished=False)


def several(run, ends=99):
    """Gives a version after each epoch."""
    weights = {"w": np.zeros(1)}
    found = run.resume(model=weights)
    step = 0 if found is None else found.step
    for epoch in run.epochs(3):
        for batch in run.feed.train:
            step += 1
            weights["w"] += batch["x"].sum()
            run.checkpoint(step=step, model=weights)
            if step == ends:
                raise KeyboardInterrupt
        yield nm.Trained({"w": weights["w"].copy()}, metrics={"epoch": epoch})


def test_versions_that_were_given_before_are_not_stored_twice(rows):
    with pytest.raises(KeyboardInterrupt):
        learn(rows, lambda run: several(run, ends=10), resume=False)
    # as if it had been killed behind the second version, with the checkpoint of before it
    held = rows.state.checkpoints.find_one({"step": 10})
    assert [version.metrics["epoch"] for version in rows.models.list("m")] == [0]
    with pytest.raises(KeyboardInterrupt):
        learn(rows, lambda run: several(run, ends=11), resume=True)
    rows.state.checkpoints.delete_many({})
    rows.state.checkpoints.insert_one(held)
    outcome = learn(rows, several, resume=True)
    assert [version.metrics["epoch"] for version in rows.models.list("m")] == [0, 1, 2]
    assert [each["ref"] for each in outcome.details["versions"]] == ["m@2", "m@3"]
    assert rows.models.load("m@3")["w"].tolist() == [3 * sum(range(50))]


def test_a_function_that_does_not_ask_begins_from_the_beginning_and_that_is_told(rows):
    def stops(run):
        run.checkpoint(step=3, model={"w": np.zeros(1)})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(rows, stops, resume=False)
    with pytest.warns(CheckpointWarning, match=r"go on from the checkpoint of step 3, .*never called run\.resume"):
        learn(rows, lambda run: nm.Trained({"w": np.zeros(1) + len(list(run.feed.train))}), resume=True)


def test_without_a_record_checkpoints_cost_nothing(rows):
    stage = stage_of(nm.learner(FEED, model="m")(lambda run: list(several(run))[-1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work(rows, stage, {})
    assert rows.state.checkpoints.count_documents({}) == 0


def test_a_loop_of_the_users_own_and_a_second_one_go_on_too(rows):
    def phases(run, ends=99):
        seen = run.resume(model={"w": np.zeros(1)})
        step = 0 if seen is None else seen.step
        for phase in (2, 2):
            for _ in run.epochs(phase):
                for _batch in run.feed.train:
                    step += 1
                    run.checkpoint(step=step, model={"w": np.zeros(1)})
                    if step == ends:
                        raise KeyboardInterrupt
        return nm.Trained({"w": np.zeros(1)}, metrics={"steps": step})

    for ends in (3, 12, 13):
        with pytest.raises(KeyboardInterrupt):
            learn(rows, lambda run, ends=ends: phases(run, ends), resume=ends > 3)
    learn(rows, phases, resume=True)
    assert rows.models.get("m").metrics["steps"] == 20


def test_a_learner_on_the_newest_rows_goes_on_with_those_of_then(rows):
    def first(run, ends=None):
        run.resume(model={"w": np.zeros(1)})
        seen = []
        for _ in run.epochs(1):
            for batch in run.feed.train:
                seen += batch["x"][:, 0].tolist()
                run.checkpoint(step=len(seen), model={"w": np.zeros(1)})
                if ends:
                    raise KeyboardInterrupt
        return nm.Trained({"w": np.array(seen)})

    def run(function, *, resume):
        keeper = Keeper(rows, resume)
        stage = stage_of(nm.learner(FEED, model="m", since=(29, "i"))(function))
        try:
            work(rows, stage, {}, JobContext(recorder=keeper))
        finally:
            keeper.kept.close(finished=False)

    with pytest.raises(KeyboardInterrupt):
        run(lambda run: first(run, ends=1), resume=False)
    rows.put("rows", [{"i": n, "a": float(n), "y": 0.0} for n in range(50, 60)], key="i")
    run(first, resume=True)
    assert sorted(rows.models.load("m")["w"].tolist()) == list(range(30, 50))
