"""The room that the cache takes: its limit, what goes first, full disks, folders that may only be read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from nemesyst.feed.cache import Cache, CacheWarning
from nemesyst.settings import load_settings

from .cache_tables import ABOUT, GB, KEY, assert_same, check_all, open_entry, put_all, store, table

pytestmark = pytest.mark.core

KEYS = [f"{n}" * 8 for n in range(5)]
root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


def fill(cache, key, chunks=3):
    """Store an entry; gives the bytes of a chunk."""
    with cache.entry(key, ABOUT) as entry:
        store(entry, range(chunks))
    return next(info.size for info in cache.entries() if info.key == key) // chunks


def keys(cache):
    return {info.key for info in cache.entries()}


@pytest.fixture
def chunk_size(tmp_path):
    return fill(Cache(tmp_path / "measure", GB), KEY)


def age(folder, key, seconds):
    path = folder / f"{key}.rows" / "users.lock"
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
def test_the_longest_unused_entry_goes_first(tmp_path, chunk_size):
    cache = Cache(tmp_path / "rows", 10 * chunk_size)
    for i, key in enumerate(KEYS[:3]):
        fill(cache, key)
        age(cache.folder, key, 100 - i)
    cache.entry(KEYS[0], ABOUT).close()  # used again
    fill(cache, KEYS[3])
    assert keys(cache) == {KEYS[0], KEYS[2], KEYS[3]}
    assert sum(info.size for info in cache.entries()) <= cache.limit


def test_an_entry_in_use_is_never_deleted(tmp_path, chunk_size):
    cache = Cache(tmp_path / "rows", 7 * chunk_size)
    fill(cache, KEYS[0])
    age(cache.folder, KEYS[0], 100)
    fill(cache, KEYS[1])
    with cache.entry(KEYS[0], ABOUT) as used:
        fill(cache, KEYS[2])
        assert keys(cache) == {KEYS[0], KEYS[2]}
        with cache.entry(KEYS[2], ABOUT), pytest.warns(CacheWarning, match="feeds in use take") as told:
            fill(Cache(cache.folder, 7 * chunk_size), KEYS[3])
        assert len(told) == 1
        assert_same(used.get(0), table(0))


def test_rows_that_need_more_than_the_limit_are_kept_as_far_as_they_fit(tmp_path, chunk_size):
    cache = Cache(tmp_path / "rows", int(2.5 * chunk_size))
    with cache.entry(KEY, ABOUT) as entry:
        with pytest.warns(CacheWarning, match=r"rows of telemetry: they need more than .* cache_size") as told:
            store(entry, range(5))
        assert len(told) == 1
        assert entry.chunks() == {0, 1}
    check_all(cache.folder, [0, 1])


@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
def test_some_entries_are_cleared_by_key(tmp_path):
    cache = Cache(tmp_path, GB)
    for key in KEYS[:3]:
        fill(cache, key)
    size = sum(info.size for info in cache.entries() if info.key != KEYS[1])
    assert cache.clear([KEYS[0], KEYS[2], KEYS[4]]) == size
    assert keys(cache) == {KEYS[1]}


def test_a_write_that_fails_is_warned_of_once_and_what_was_stored_stays(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_entry(tmp_path) as entry:
        entry.put(0, table(0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limit[1]))
        try:
            with pytest.warns(CacheWarning, match="keeps no more rows of telemetry: File too large") as told:
                store(entry, [1, 2])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert len(told) == 1
        assert_same(entry.get(0), table(0))
    put_all(tmp_path, range(3))
    check_all(tmp_path, range(3))


@pytest.fixture
def small(tmp_path):
    """A file system of 2 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@root
def test_a_disk_is_not_filled_to_the_brim(small):
    with open_entry(small / "rows") as entry:
        with pytest.warns(CacheWarning, match="disk is nearly full") as told:
            store(entry, range(200))
        kept = entry.chunks()
    assert 5 < len(kept) < 190
    assert len(told) == 1
    disk = os.statvfs(small)
    assert disk.f_bavail * disk.f_frsize > 50_000
    check_all(small / "rows", kept)


@root
def test_a_disk_that_gets_full_has_unused_entries_deleted_first(small):
    cache = Cache(small / "rows", GB)
    size = fill(cache, KEYS[0])
    fill(cache, KEYS[1], chunks=int(1_850_000 / size) - 3)
    assert keys(cache) == set(KEYS[:2])
    fill(cache, KEYS[2], chunks=10)
    assert KEYS[0] not in keys(cache)
    check_all(cache.folder, range(10), KEYS[2])


@root
def test_a_full_disk_is_warned_of(small):
    with open_entry(small / "rows") as entry:
        entry.put(0, table(0))
        entry._admit = lambda size: None  # another program takes the last room after we have looked
        with (small / "other").open("wb") as other, pytest.raises(OSError, match="No space"):
            other.write(b"x" * 5_000_000)
        with pytest.warns(CacheWarning, match="No space left on device"):
            entry.put(1, table(1))
        assert_same(entry.get(0), table(0))
        assert entry.get(1) is None


@root
def test_a_folder_that_may_only_be_read_is_read(small):
    put_all(small / "rows", range(3))
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with open_entry(small / "rows") as entry:
        assert_same(entry.get(1), table(1))
        with pytest.warns(CacheWarning, match="Read-only file system") as told:
            store(entry, [5, 6])
        assert len(told) == 1
        assert_same(entry.get(2), table(2))
    with pytest.warns(CacheWarning, match="is not used: Read-only file system"):
        other = open_entry(small / "rows", key=KEYS[0])
    other.put(0, table(0))
    assert other.get(0) is None
    assert [info.chunks for info in Cache(small / "rows", GB).entries()] == [3]


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(CacheWarning, match=r"file/rows is not used: Not a directory"):
        entry = open_entry(tmp_path / "file" / "rows")
    entry.put(0, table(0))
    assert entry.get(0) is None
    assert entry.whole([0]) is None
    entry.close()


def test_the_settings_name_folder_and_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = Cache.of(load_settings({"home": tmp_path / "home", "cache_size": 1.5}))
    assert (cache.folder, cache.limit) == (tmp_path / "home" / "cache" / "rows", 1_500_000_000)
    assert Cache.of(load_settings({"cache": tmp_path / "fast"})).folder == tmp_path / "fast" / "rows"


def test_reading_needs_few_descriptors(tmp_path):
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    put_all(tmp_path, range(60))
    program = f"{code}sys.path.insert(0, {os.path.dirname(__file__)!r}); from cache_tables import *; from pathlib import Path; check_all(Path({str(tmp_path)!r}), range(60))"  # noqa: PTH120
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
