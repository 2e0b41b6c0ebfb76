"""The cache when its files are damaged, torn, foreign or of another format: rows are absent, never wrong."""

from __future__ import annotations

import os
import shutil

import pytest

from nemesyst.feed.cache import Cache, CacheWarning
from nemesyst.feed.cache.folder import Folder
from nemesyst.feed.cache.journal import Journal

from .cache_tables import ABOUT, GB, KEY, assert_same, check_all, open_entry, put_all, store, table

pytestmark = pytest.mark.core


@pytest.fixture
def files(tmp_path):
    """The folder of an entry of three chunks."""
    put_all(tmp_path, range(3))
    return tmp_path / f"{KEY}.rows"


def change(path, at, data):
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(data)


@pytest.mark.parametrize("name", ["0.rows", "1.rows", "5.rows", "5.places", "5.heap", "6.heap"])
def test_a_chunk_with_a_wrong_byte_is_absent_and_stored_again(files, tmp_path, name):
    change(files / name, -1, b"\xa5")
    with open_entry(tmp_path) as entry:
        with pytest.warns(CacheWarning, match=r"rows of chunk 2 are damaged") as told:
            found = [entry.get(2), entry.whole([0, 1, 2])]
        assert found == [None, None]
        assert len(told) == 1
        assert_same(entry.get(1), table(1))
        entry.put(2, table(2))
        assert_same(entry.get(2), table(2))
    check_all(tmp_path, range(3))


@pytest.mark.parametrize("size", [0, 1, 300 * 12])
def test_rows_that_were_cut_off_are_absent_and_stored_again(files, tmp_path, size):
    os.truncate(files / "0.rows", size)
    with open_entry(tmp_path) as entry, pytest.warns(CacheWarning, match="damaged"):
        store(entry, range(3))
    check_all(tmp_path, range(3))


def test_a_missing_column_is_made_again(files, tmp_path):
    (files / "1.rows").unlink()
    with open_entry(tmp_path) as entry, pytest.warns(CacheWarning, match="damaged"):
        store(entry, range(3))
    check_all(tmp_path, range(3))


@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
@pytest.mark.parametrize("cut", [1, 30, 300])
def test_a_torn_record_is_passed_over_and_the_next_one_is_whole(files, tmp_path, cut):
    journal = files / "journal"
    os.truncate(journal, journal.stat().st_size - cut)
    with open_entry(tmp_path) as entry:
        assert entry.chunks() == {0, 1}
        entry.put(2, table(2))
        entry.put(3, table(3))
    check_all(tmp_path, range(4))


@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
def test_a_damaged_record_hides_its_own_chunk_alone(files, tmp_path):
    size = (files / "journal").stat().st_size
    folder = Folder(files, use=False)
    record = Journal.open(folder)._dtype.itemsize
    folder.close()
    change(files / "journal", size - 2 * record + 20, b"\x7f\x7f")
    with open_entry(tmp_path) as entry:
        assert entry.chunks() == {0, 2}
        entry.put(1, table(1))
    check_all(tmp_path, range(3))


def test_a_reader_sees_a_record_that_was_half_written_when_it_looked(files, tmp_path):
    journal = files / "journal"
    whole = journal.read_bytes()
    change(journal, -100, b"\0" * 100)
    with open_entry(tmp_path) as entry:
        assert entry.chunks() == {0, 1}
        journal.write_bytes(whole)
        assert_same(entry.get(2), table(2))


def foreign(path):
    path.write_bytes(b"PK\x03\x04 something else entirely" * 10)


def other_format(path):
    path.write_bytes(path.read_bytes().replace(b"nemesyst rows001", b"nemesyst rows002"))


def damaged_header(path):
    change(path, 40, b"\xff\xff")


def empty(path):
    path.write_bytes(b"")


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("ruin", [foreign, other_format, damaged_header, empty, a_folder, a_pipe, a_link])
def test_an_entry_whose_journal_is_not_ours_is_made_anew(files, tmp_path, ruin):
    ruin(files / "journal")
    with pytest.warns(CacheWarning, match="made anew"):
        entry = open_entry(tmp_path)
    assert entry.get(0) is None
    entry.put(0, table(0))
    assert_same(entry.get(0), table(0))
    entry.close()
    check_all(tmp_path, [0])


def test_an_entry_that_is_made_anew_does_not_disturb_those_who_use_the_old_one(files, tmp_path):
    with open_entry(tmp_path) as old:
        found = old.get(0)
        foreign(files / "journal")
        with pytest.warns(CacheWarning, match="made anew"):
            new = open_entry(tmp_path)
        new.put(5, table(5))
        assert_same(old.get(0), table(0))
        assert_same(found, table(0))
        assert old.get(5) is None
        assert_same(new.get(5), table(5))
        new.close()


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_something_else_in_place_of_an_entry_is_replaced(tmp_path, there):
    place = tmp_path / f"{KEY}.rows"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    {"file": place.touch, "link": lambda: place.symlink_to(tmp_path / "precious"), "folder": place.mkdir}[there]()
    if there == "folder":
        put_all(tmp_path, [0])
    else:
        with pytest.warns(CacheWarning, match="made anew"):
            open_entry(tmp_path).close()
        put_all(tmp_path, [0])
    check_all(tmp_path, [0])
    assert (tmp_path / "precious" / "file").read_text() == "mine"


def test_column_files_that_are_something_else_are_warned_of_and_rows_are_absent(files, tmp_path):
    (files / "0.rows").unlink()
    (files / "0.rows").mkdir()
    with open_entry(tmp_path) as entry:
        with pytest.warns(CacheWarning, match="0.rows is no plain file"):
            store(entry, [0])
        assert entry.get(0) is None


@pytest.mark.parametrize("about", [b"", b"\xff", b"[1]", b"{"])
@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
def test_what_is_remembered_about_an_entry_may_be_damaged(files, tmp_path, about):
    (files / "about.json").write_bytes(about)
    (info,) = Cache(tmp_path, GB).entries()
    assert (info.about, info.chunks) == ({}, 3)
    check_all(tmp_path, range(3))


@pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")
def test_leftovers_of_killed_processes_go_and_foreign_files_stay(files, tmp_path):
    shutil.copytree(files, tmp_path / ".old-1")
    (tmp_path / ".new-2").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "abc.rows").mkdir()
    with Cache(tmp_path, GB).entry("ab" * 8, ABOUT):
        pass
    Cache(tmp_path, GB).clear()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.txt", "abc.rows", "cache.lock"}
