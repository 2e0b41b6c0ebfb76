"""Deleted versions, and what is collected after them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from nemesyst.errors import ModelError, SettingsError, UnknownModelError

from .savers import given_up

NOW = {"older_than": 0.0, "plans": None}


@pytest.fixture
def three(models, large):
    """Three versions of air, the second one champion; the first and the third have the same weights."""
    for sign in (1, -1, 1):
        models.save({"w": sign * large["w"]}, "air", metrics={"mae": 0.5})
    models.promote("air@2", "champion")
    return models


def left(state):
    return state.blobs.count_documents({}), state["blobs.chunks"].count_documents({})


def test_equal_contents_are_stored_once(three, state):
    assert left(state) == (2, 2 * state["blobs.chunks"].count_documents({"blob": state.blobs.find_one()["_id"]}))


def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(three, weights):
    assert [version.ref for version in three.delete("air@3", why="a mistake")] == ["air@3"]
    with pytest.raises(UnknownModelError, match=r"air@3 was deleted by .*@.* \(a mistake\)"):
        three.load("air@3")
    assert three.save(weights, "air").number == 4
    assert [version.number for version in three.list("air")] == [1, 2, 4]


def test_the_number_of_the_only_version_is_not_given_again(models, weights):
    models.save(weights, "wind")
    models.delete("wind@1")
    assert models.names() == []
    assert models.save(weights, "wind").number == 2


def test_a_version_with_an_alias_is_deleted_only_if_that_is_said(three):
    with pytest.raises(ModelError, match="air@2 is champion, and was not deleted"):
        three.delete(["air@1", "air@2"])
    assert len(three.list("air")) == 3
    three.delete(["air@1", "air@2"], aliases=True)
    with pytest.raises(UnknownModelError, match="no alias 'champion'"):
        three.get("air@champion")
    assert [(move.kind, move.source, move.target) for move in three.history("air@champion")] == [
        ("promote", None, 2), ("remove", 2, None),
    ]  # fmt: skip


def test_an_alias_that_is_gone_can_be_set_again(three):
    three.delete("air@2", aliases=True)
    three.promote("air@3", "champion")
    assert three.get("air@champion").number == 3
    with pytest.raises(UnknownModelError, match="meant nothing before"):
        three.rollback("air@champion")


def test_a_rollback_passes_over_deleted_versions(three):
    for number in (1, 3, 2):
        three.promote(f"air@{number}", "champion")
    three.delete("air@3")
    assert three.rollback("air@champion").number == 1


@pytest.mark.parametrize(("refs", "error"), [([], SettingsError), (["air@9"], UnknownModelError)])
def test_what_cannot_be_deleted_is_told(three, refs, error):
    with pytest.raises(error):
        three.delete(refs)


def test_a_tombstone_keeps_what_the_version_was(three, state):
    three.delete("air@1", why="old")
    kept = state.tombstones.find_one()
    assert (kept["metrics"], kept["why"], kept["contents"]["model"].keys()) == ({"mae": 0.5}, "old", {"digest", "size"})


def test_what_a_version_still_names_is_not_collected(three, state, large):
    three.delete("air@1")
    found = three.gc(**NOW)
    assert (found.blobs, found.size) == (0, 0)
    assert np.array_equal(three.load("air@3")["w"], large["w"])


def test_what_nothing_names_any_more_is_collected(three, state):
    size = three.get("air@1").size
    three.delete(["air@1", "air@3"])
    before = left(state)
    dry = three.gc(dry_run=True, **NOW)
    assert (dry.blobs, dry.size, dry.dry_run, left(state)) == (1, size, True, before)
    found = three.gc(**NOW)
    assert (found.blobs, found.size, left(state)[0]) == (1, size, 1)
    assert three.gc(**NOW).blobs == 0


def test_what_is_young_is_left_alone(three):
    three.delete(["air@1", "air@3"])
    assert three.gc(plans=None).blobs == 0
    assert three.gc(older_than=timedelta(seconds=0), plans=None).blobs == 1


def test_blobs_of_savers_that_died_are_collected(three, state):
    state.blobs.update_one({}, {"$set": {"state": "pending"}, "$unset": {"size": 1, "digest": 1}})
    state.versions.delete_many({"blobs": state.blobs.find_one({"state": "pending"})["_id"]})
    found = three.gc(**NOW)
    assert (found.pending, found.blobs, left(state)[0]) == (0, 0, 2)  # its saver may be at work
    given_up(state)
    found = three.gc(**NOW)
    assert (found.pending, found.blobs, left(state)[0]) == (1, 0, 1)


def test_parts_without_a_blob_are_collected(three, state):
    blob = state.versions.find_one({"number": 2})["blobs"][0]
    state.blobs.delete_one({"_id": blob})
    found = three.gc(**NOW)
    assert found.parts == state["blobs.chunks"].count_documents({}) > 0
    assert found.blobs == 0


def test_a_collector_that_was_killed_is_gone_on_with(three, state):
    three.delete(["air@1", "air@3"])
    unused = set(state.blobs.distinct("_id")) - {state.versions.find_one()["blobs"][0]}
    state.blobs.update_one({"_id": unused.pop()}, {"$set": {"state": "doomed"}})
    assert three.gc(**NOW).blobs == 1
    assert left(state)[0] == 1


def test_equal_contents_that_are_being_collected_are_stored_anew(three, state, large):
    three.delete(["air@1", "air@3"])
    unused = next(each for each in state.blobs.find() if not state.versions.find_one({"blobs": each["_id"]}))
    state.blobs.update_one({"_id": unused["_id"]}, {"$set": {"state": "doomed"}})
    assert np.array_equal(three.load(three.save(large, "air").ref)["w"], large["w"])


def test_blobs_of_kept_rows_are_not_collected(hub, state):
    content = hub.models._store.blobs.store([bytes(300_000)], "keep")
    state["plans.rows"].insert_one({"_id": {"set": 1, "chunk": 0}, "blob": content.blob})
    assert hub.models.gc(**NOW).blobs == 0
    state["plans.rows"].delete_many({})
    assert hub.models.gc(**NOW).blobs == 1
