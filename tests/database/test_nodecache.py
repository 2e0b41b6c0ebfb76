"""Verified blobs on the node's disk."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import warnings

import pytest
from blake3 import blake3

from nemesyst.database.blobparts import PART
from nemesyst.database.blobs import Blobs
from nemesyst.database.nodecache import BlobCacheWarning, Landing, NodeCache

MB = 1 << 20


def bytes_of(size, first=0):
    return bytes((n * 31 + first) % 251 for n in range(1009)) * (size // 1009 + 1)


@pytest.fixture
def cache(tmp_path):
    return NodeCache(tmp_path / "blobs", 8 * MB)


@pytest.fixture
def blobs(hub, cache):
    return Blobs(hub._connection, hub.state.name, cache)


@pytest.fixture
def content(blobs):
    return blobs.store([bytes_of(5 * PART)[: 5 * PART - 7]], "save")


def kept(cache, data):
    landing = cache.begin(len(data))
    landing.write(0, data)
    landing.keep(blake3(data).hexdigest())
    landing.close()
    return blake3(data).hexdigest()


def test_what_was_loaded_is_kept_and_loaded_again_without_the_database(blobs, hub, cache, content):
    data = bytes(blobs.load(content, "air@1"))
    assert [path.name for path, _, _ in cache.files()] == [content.digest]
    hub.state["blobs.chunks"].delete_many({})
    assert blobs.load(content, "air@1") == data


def test_what_is_loaded_can_only_be_read(blobs, content):
    for _ in range(2):
        assert blobs.load(content, "air@1").readonly


def test_a_mapped_blob_stays_when_its_file_goes(blobs, cache, content):
    view = blobs.load(content, "air@1")
    assert cache.clear() == content.size
    assert blake3(view).hexdigest() == content.digest


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "folder", "link"])
def test_a_damaged_file_is_read_anew_from_the_database(blobs, cache, content, damage, tmp_path):
    blobs.load(content, "air@1")
    path = cache.folder / content.digest
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[1000] ^= 1
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "link":
        (tmp_path / "other").write_bytes(data)
        path.symlink_to(tmp_path / "other")
    else:
        path.write_bytes({"cut": data[:-1], "longer": data + b"x"}.get(damage, data))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert blake3(blobs.load(content, "air@1")).hexdigest() == content.digest


def test_the_blobs_that_were_not_used_for_longest_go_first(cache):
    digests = [kept(cache, bytes_of(3 * MB, n)[: 3 * MB]) for n in range(2)]
    for age, digest in enumerate(reversed(digests)):
        os.utime(cache.folder / digest, (1e9 - age, 1e9 - age))
    cache.open(digests[0], 3 * MB)  # it is used: the other one goes
    digests.append(kept(cache, bytes_of(3 * MB, 2)[: 3 * MB]))
    assert {path.name for path, _, _ in cache.files()} == {digests[0], digests[2]}


def test_a_blob_larger_than_the_cache_is_not_kept(cache):
    assert cache.begin(8 * MB + 1) is None
    assert NodeCache(cache.folder, 0).begin(1) is None


def test_a_file_of_a_writer_that_died_is_removed_and_of_a_living_one_not(cache):
    living = cache.begin(10)
    (cache.folder / ".new-dead").write_bytes(b"x")
    cache.begin(10).close()
    assert [path.name for path in cache.folder.glob(".new-*")] == [living._path.name]
    living.close()
    assert list(cache.folder.glob(".new-*")) == []


KILLED = """
import sys
from pathlib import Path
from nemesyst.database.nodecache import NodeCache
landing = NodeCache(Path(sys.argv[1]), 1 << 30).begin(1 << 20)
landing.write(0, b"x" * 1000)
print("writing", flush=True)
sys.stdin.read()
"""


def test_a_writer_that_is_killed_leaves_nothing_that_is_read(cache):
    command = [sys.executable, "-c", KILLED, cache.folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        cache.begin(10).close()
        assert len(list(cache.folder.glob(".new-*"))) == 1  # it lives
        writer.kill()
    cache.begin(10).close()
    assert list(cache.folder.glob(".new-*")) == []
    assert cache.files() == []


def test_a_full_disk_is_a_warning_and_the_model_is_loaded(blobs, content, monkeypatch):
    def full(self, begin, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Landing, "write", full)
    with pytest.warns(BlobCacheWarning, match="is not kept in .*: No space left on device"):
        assert blake3(blobs.load(content, "air@1")).hexdigest() == content.digest


def test_a_folder_that_cannot_be_made_is_a_warning_and_the_model_is_loaded(hub, content, tmp_path):
    (tmp_path / "file").touch()
    blobs = Blobs(hub._connection, hub.state.name, NodeCache(tmp_path / "file" / "blobs", 1 << 30))
    with pytest.warns(BlobCacheWarning, match="Not a directory"):
        assert blake3(blobs.load(content, "air@1")).hexdigest() == content.digest


def test_the_files_are_their_owners_alone(cache):
    digest = kept(cache, b"weights")
    assert (cache.folder / digest).stat().st_mode & 0o777 == 0o600
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_a_file_that_somebody_else_locks_is_left(cache):
    cache.folder.mkdir(parents=True)
    with (cache.folder / ".new-other").open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cache.begin(10).close()
        assert (cache.folder / ".new-other").exists()
