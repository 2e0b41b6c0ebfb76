from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.database.blobparts import PART, cut
from nemesyst.database.blobs import SMALL, Blobs
from nemesyst.errors import CorruptBlobError, ModelError


@pytest.fixture
def blobs(hub):
    return Blobs(hub._connection, hub.state.name)


@pytest.fixture
def state(hub):
    return hub.state


def bytes_of(size):
    return bytes(n * 31 % 251 for n in range(1009)) * (size // 1009 + 1)


@pytest.mark.core
@given(st.lists(st.integers(0, 3 * PART), max_size=6))
def test_pieces_of_any_size_are_cut_into_parts_of_one_size(sizes):
    pieces = [bytes_of(size)[:size] for size in sizes]
    parts = list(cut(pieces))
    assert b"".join(parts) == b"".join(pieces)
    assert all(len(part) == PART for part in parts[:-1])
    assert not parts or 0 < len(parts[-1]) <= PART


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 2 * PART, 2 * PART + 1, 32 * PART, 33 * PART + 5])
def test_content_comes_back(blobs, size):
    data = bytes_of(size)[:size]
    content = blobs.store([data], "save")
    assert (content.digest, content.size) == (blake3(data).hexdigest(), size)
    assert blobs.load(content, "air@1") == data


def test_small_content_stays_out_of_the_blobs(blobs, state):
    assert blobs.store([bytes(SMALL)], "save").blob is None
    assert state.list_collection_names() == []


def test_a_blob_is_ready_when_all_of_its_parts_are_there(blobs, state):
    content = blobs.store([bytes_of(10 * PART)], "save")
    blob = state.blobs.find_one({"_id": content.blob})
    assert (blob["state"], blob["size"], blob["digest"]) == ("ready", content.size, content.digest)
    assert state["blobs.chunks"].index_information()["blob_1_n_1"]["unique"]


def test_a_dump_that_fails_leaves_a_pending_blob(blobs, state):
    def pieces():
        yield bytes_of(40 * PART)
        raise ModelError("the disk of the model caught fire")

    with pytest.raises(ModelError, match="caught fire"):
        blobs.store(pieces(), "save")
    assert [blob["state"] for blob in state.blobs.find()] == ["pending"]


@pytest.fixture
def content(blobs):
    return blobs.store([bytes_of(5 * PART)[: 5 * PART - 7]], "save")


def test_a_missing_part_is_found(blobs, state, content):
    state["blobs.chunks"].delete_one({"n": 2})
    with pytest.raises(CorruptBlobError, match="air@3 are not the ones that were saved: expected 5 parts, found 4"):
        blobs.load(content, "air@3")


def test_a_part_too_many_is_found(blobs, state, content):
    state["blobs.chunks"].insert_one({"blob": content.blob, "n": 5, "data": b"x"})
    with pytest.raises(CorruptBlobError, match="expected 5 parts, found 6"):
        blobs.load(content, "air@3")


def test_a_renumbered_part_is_found(blobs, state, content):
    state["blobs.chunks"].update_one({"n": 2}, {"$set": {"n": 9}})
    with pytest.raises(CorruptBlobError, match="expected part 2 of 261120 bytes, found part 3"):
        blobs.load(content, "air@3")


def test_swapped_parts_are_found(blobs, state, content):
    for old, new in ((1, 8), (2, 1), (8, 2)):
        state["blobs.chunks"].update_one({"n": old}, {"$set": {"n": new}})
    with pytest.raises(CorruptBlobError, match="expected BLAKE3"):
        blobs.load(content, "air@3")


@pytest.mark.parametrize("data", [b"short", "text", None, 7, bytes(PART + 1)])
def test_a_part_of_another_kind_or_size_is_found(blobs, state, content, data):
    state["blobs.chunks"].update_one({"n": 0}, {"$set": {"data": data}})
    with pytest.raises(CorruptBlobError, match="expected part 0 of 261120 bytes"):
        blobs.load(content, "air@3")


def test_one_flipped_bit_is_found_and_both_digests_are_named(blobs, state, content):
    part = bytearray(state["blobs.chunks"].find_one({"n": 4})["data"])
    part[-1] ^= 1
    state["blobs.chunks"].update_one({"n": 4}, {"$set": {"data": bytes(part)}})
    with pytest.raises(CorruptBlobError, match=f"expected BLAKE3 {content.digest}, found [0-9a-f]{{64}}"):
        blobs.load(content, "air@3")


def test_only_a_ready_blob_can_be_claimed(hub, blobs, state, content):
    state.blobs.update_one({}, {"$set": {"state": "doomed"}})
    with pytest.raises(ModelError, match="collected before a record named them"):
        hub._connection.transaction("claim", lambda session: blobs.touch(content.blob, session))
