"""``nemesyst cache``: list and clear, without a database."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nemesyst.cli import main
from nemesyst.feed.cache import Cache
from nemesyst.feed.table import Table

pytestmark = pytest.mark.core

IMAGES, TELEMETRY = "ab" * 16, "cd" * 16


@pytest.fixture
def run(tmp_path, capsys):
    """Run ``nemesyst cache ...``; gives the exit code and what was printed."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["cache", *words, "--home", str(tmp_path)])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def kept(tmp_path):
    """Rows of two feeds, the telemetry in use."""
    cache = Cache(tmp_path / "cache" / "rows", 10**9)
    with cache.entry(IMAGES, {"collection": "images", "cutoff": 1}) as entry:
        entry.put(0, Table({"x": np.zeros((1500, 784), np.uint8)}))
    with cache.entry(TELEMETRY, {"collection": "telemetry"}) as entry:
        entry.put(0, Table({"x": np.zeros((10, 2))}))
        entry.put(1, Table({"x": np.zeros((10, 2))}))
        yield cache


@pytest.mark.usefixtures("kept")
def test_list_shows_what_is_kept_for_which_feed(run):
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[:3]] == ["key", TELEMETRY[:12], IMAGES[:12]]
    assert "images" in lines[2]
    assert "1,500" in lines[2]
    assert "1.2 MB" in lines[2]
    assert lines[1].endswith("yes")
    assert "of at most 20 GB in" in lines[3]


@pytest.mark.usefixtures("kept")
def test_list_as_json(run):
    telemetry, images = json.loads(run("list", "--json")[1])
    assert (telemetry["key"], telemetry["chunks"], telemetry["in_use"]) == (TELEMETRY, 2, True)
    assert (images["rows"], images["about"]) == (1500, {"collection": "images", "cutoff": 1})


def test_clear_frees_what_is_not_in_use_and_names_the_rest(run, kept):
    code, out, _ = run("clear")
    assert code == 0
    assert out.startswith("freed 1.2 MB in ")
    assert f"{TELEMETRY[:12]} telemetry is in use" in out
    assert [info.key for info in kept.entries()] == [TELEMETRY]


def test_clear_takes_the_beginnings_of_keys(run, kept):
    told = json.loads(run("clear", "abab", "--json")[1])
    assert told["in_use"] == []
    assert told["freed"] > 1500 * 784
    assert [info.key for info in kept.entries()] == [TELEMETRY]


@pytest.mark.usefixtures("kept")
def test_a_key_that_is_not_there_is_told(run):
    code, _, err = run("clear", "abac")
    assert code == 1
    assert "no rows are kept under 'abac'" in err
    assert "nemesyst cache list" in err


def test_where_nothing_is_kept_nothing_is_made(run, tmp_path):
    assert run("list")[:2] == (0, f"no rows are kept in {tmp_path}/cache/rows\n")
    assert run("clear")[:2] == (0, f"freed 0 B in {tmp_path}/cache/rows\n")
    assert list(tmp_path.iterdir()) == []
