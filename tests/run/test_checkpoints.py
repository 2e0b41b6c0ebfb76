"""Checkpoints in the database: the last three, verified, never half there, and nobody else's blobs."""

from __future__ import annotations

import json
import math
import threading
import warnings
from datetime import timedelta

import numpy as np
import pytest

from nemesyst.errors import DatabaseError, UnreachableError
from nemesyst.run.checkpoint_writer import CheckpointWriter
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import CheckpointWarning, Snapshot

pytestmark = pytest.mark.core

POSITION = {"version": 1, "fingerprint": "f", "plan": "p", "bounds": "b", "as_of": [1, 1], "parts": {}}
NOW = {"older_than": 0, "plans": None}


def snapshot(step, large=True):
    values = np.full(100_000 if large else 10, step, np.float64)
    return Snapshot(step, step // 10, POSITION, {"model": [b"head", bytes(values)], "state": [b"s"]})


@pytest.fixture
def kept(hub):
    checkpoints = Checkpoints(hub, "r1")
    yield checkpoints
    checkpoints.close(finished=False)


def store(kept, *steps, **how):
    for step in steps:
        kept._store(snapshot(step, **how))


def blobs(hub):
    return hub.state.blobs.count_documents({}), len(hub.state["blobs.chunks"].distinct("blob"))


def test_the_newest_one_comes_back_as_it_was(kept, hub):
    assert kept.last() is None
    store(kept, 10, 20)
    found = Checkpoints(hub, "r1").last()
    assert (found.step, found.epoch, found.position) == (20, 2, POSITION)
    assert bytes(found.data("model")) == b"".join(snapshot(20).contents["model"])
    assert Checkpoints(hub, "r2").last() is None


def test_three_are_kept_and_the_blobs_of_the_others_go(kept, hub):
    store(kept, *range(1, 6))
    assert [each["step"] for each in hub.state.checkpoints.find(sort=[("number", 1)])] == [3, 4, 5]
    assert blobs(hub) == (3, 3)


def test_a_run_that_begins_again_counts_on_whatever_its_steps_are(kept, hub):
    store(kept, 90, 100)
    again = Checkpoints(hub, "r1")
    again._store(snapshot(1))
    assert again.last().step == 1


def test_at_the_end_of_a_run_that_is_done_they_go_and_of_another_they_stay(hub):
    for run, finished in (("done", True), ("failed", False)):
        kept = Checkpoints(hub, run)
        kept.save(1, snapshot(1))
        kept.close(finished=finished)
    assert hub.state.checkpoints.distinct("run") == ["failed"]
    assert blobs(hub) == (1, 1)


def test_of_damaged_bytes_the_checkpoint_before_is_taken(kept, hub):
    store(kept, 1, 2)
    blob = hub.state.checkpoints.find_one({"step": 2})["blobs"][0]
    hub.state["blobs.chunks"].update_one({"blob": blob, "n": 1}, {"$set": {"data": b"\0" * 255 * 1024}})
    with pytest.warns(
        CheckpointWarning, match=r"of run r1 is damaged, the one before is taken: .*checkpoint 2 \(step 2"
    ):
        assert kept.last().step == 1


POSITIONS = [{"plan": "p", "parts": {}}, [], POSITION | {"as_of": 5}, POSITION | {"parts": {"train": {"epoch": 0}}}]


@pytest.mark.parametrize(
    "change",
    [
        {"contents": 5},
        {"step": None},
        {"step": math.inf},
        {"position": "{"},
        {"contents": {"model": {}}},
        {"number": "many"},
        *({"position": json.dumps(position)} for position in POSITIONS),
    ],
)
def test_of_an_edited_record_too(kept, hub, change):
    store(kept, 1, 2, large=False)
    hub.state.checkpoints.update_one({"step": 2}, {"$set": change})
    with pytest.warns(CheckpointWarning, match="the one before is taken"):
        assert kept.last().step == 1


@pytest.mark.parametrize("number", ["many", None, math.inf, math.nan, True, [2], {"a": 1}])
def test_after_an_edited_number_the_next_ones_count_on_from_those_that_are_some(kept, hub, number):
    store(kept, 1, 2, large=False)
    hub.state.checkpoints.update_one({"step": 2}, {"$set": {"number": number}})
    store(kept, 3, 4, large=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = kept.last()
    assert found.step == 4
    assert found.number == 3 + (number == [2])


def test_collecting_leaves_checkpoints_alone_and_takes_those_that_nobody_resumes(kept, hub):
    store(kept, 1)
    assert hub.models.gc(**NOW).blobs == 0
    assert kept.last().step == 1
    assert hub.models.gc(older_than=0, plans=timedelta(hours=3)).checkpoints == 0
    hub.state.checkpoints.update_one({}, [{"$set": {"created": {"$subtract": ["$created", 4 * 3_600_000]}}}])
    assert hub.models.gc(older_than=0, plans=timedelta(hours=3), dry_run=True).checkpoints == 1
    found = hub.models.gc(older_than=0, plans=timedelta(hours=3))
    assert (found.checkpoints, found.blobs) == (1, 1)
    assert blobs(hub) == (0, 0)


def test_a_version_with_the_same_bytes_keeps_them(kept, hub):
    weights = {"w": np.arange(100_000.0)}
    version = hub.models.save(weights, "net")
    hub.models.delete(version.ref)  # its blob is there still, and equal bytes are found
    data = next(iter(hub.state.blobs.find()))["_id"]
    store(kept, 1)
    hub.state.checkpoints.update_one({}, {"$push": {"blobs": data}})
    again = hub.models.save(weights, "net")
    kept.close(finished=True)
    assert np.array_equal(hub.models.load(again.ref)["w"], weights["w"])
    assert blobs(hub) == (1, 1)


def test_a_process_whose_run_was_taken_over_stores_nothing_more(kept, hub):
    hub.state.runs.insert_one({"_id": "r1", "attempts": 1})
    store(kept, 1)
    hub.state.runs.update_one({"_id": "r1"}, {"$inc": {"attempts": 1}})
    with pytest.warns(CheckpointWarning, match="no checkpoint of step 2: run r1 is gone on with by another process"):
        saved_to_the_end(kept, 2)
    assert hub.state.checkpoints.distinct("step") == [1]


def saved_to_the_end(kept, step):
    kept.save(step, snapshot(step))
    kept.close(finished=False)


class Store:
    """Stores as a test lets it."""

    def __init__(self, error=None):
        self.stored, self.tried, self.error = [], threading.Semaphore(0), error
        self.may = threading.Event()

    def __call__(self, given):
        self.tried.release()
        self.may.wait(60)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.stored.append(given.step)


def waiting_while_away(writer, place):
    writer.put(snapshot(1))
    place.tried.acquire()
    writer.put(snapshot(2))
    place.may.set()
    assert writer.close(60)


def stored_to_the_end(writer):
    writer.put(snapshot(1))
    assert writer.close(60)


def test_of_those_that_wait_the_newest_is_stored():
    place = Store()
    writer = CheckpointWriter(place)
    writer.put(snapshot(1))
    place.tried.acquire()
    for step in (2, 3, 4):
        writer.put(snapshot(step))
    place.may.set()
    assert writer.close(60)
    assert place.stored == [1, 4]


def test_while_the_database_is_away_it_waits_and_a_newer_one_takes_its_place():
    place = Store(UnreachableError("away"))
    writer = CheckpointWriter(place)
    with pytest.warns(CheckpointWarning, match="the checkpoint of step 1 waits for the database: away"):
        waiting_while_away(writer, place)
    assert place.stored == [2]


@pytest.mark.parametrize("error", [DatabaseError("refused"), ValueError("a bug")])
def test_what_cannot_be_stored_is_told_and_training_goes_on(error):
    place = Store(error)
    place.may.set()
    writer = CheckpointWriter(place)
    with pytest.warns(CheckpointWarning, match=r"no checkpoint of step 1: .*(refused|a bug).*; training goes on"):
        stored_to_the_end(writer)
    assert place.stored == []


def test_what_still_waits_at_the_end_of_a_run_that_is_done_is_dropped():
    place = Store()
    writer = CheckpointWriter(place)
    writer.put(snapshot(1))
    place.tried.acquire()
    writer.put(snapshot(2))
    assert not writer.close(0, drop=True)
    place.may.set()
    assert writer.close(60, drop=True)
    assert place.stored == [1]


def test_an_end_without_checkpoints_needs_no_thread(hub):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Checkpoints(hub, "r9").close(finished=True)
