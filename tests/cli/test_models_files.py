"""``nemesyst models`` delete, gc, export and import."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nemesyst.cli import main


@pytest.fixture
def stored(hub):
    """Two large versions of air, the second one champion."""
    for n in range(2):
        hub.models.save({"w": np.full(50_000, n, "f8")}, "air", text="Air temperature.")
    hub.models.promote("air@2", "champion")
    return hub.models


@pytest.fixture
def run(home, names, capsys):
    """Run ``nemesyst models ...``; gives the exit code and what was printed."""

    def run(*words):
        options = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
        with pytest.raises(SystemExit) as ended:
            main(["models", *map(str, words), *options])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_a_version_is_deleted_and_its_bytes_are_freed(stored, run):
    assert run("delete", "air@1", "--why", "old")[:2] == (0, "deleted air@1\n")
    assert run("gc")[1].startswith("freed 0 B: 0 blobs that nothing names")  # it is young
    assert run("gc", "--hours", "0", "--dry-run")[1].startswith("would free 400.1 kB: 1 blobs that nothing names")
    assert run("gc", "--hours", "0")[1].startswith("freed 400.1 kB: 1 blobs that nothing names")
    code, out, _ = run("gc", "--hours", "0", "--json")
    assert (code, json.loads(out)["blobs"]) == (0, 0)


def test_a_champion_is_deleted_only_with_its_alias(stored, run):
    code, _, error = run("delete", "air@2")
    assert code == 1
    assert "air@2 is champion, and was not deleted" in error
    assert "--aliases" in error
    assert run("delete", "air@2", "--aliases")[0] == 0


def test_models_go_into_a_file_and_come_out_of_it(stored, run, tmp_path):
    code, out, _ = run("export", "air@1", "air@champion", "--file", tmp_path / "air.models")
    assert code == 0
    assert out.startswith(f"{tmp_path / 'air.models'}: air@1, air@2, 80")
    assert run("import", tmp_path / "air.models", "--aliases")[1] == "air@3, which was air@1\nair@4, which was air@2\n"
    assert stored.get("air@champion").number == 4
    assert "air@1" in run("show", "air@3")[1]
    code, _, error = run("import", tmp_path / "air.models", "--keep-numbers")
    assert code == 1
    assert "air@1 is there already" in error


def test_a_file_that_is_none_is_one_clear_error(stored, run, tmp_path):
    (tmp_path / "air.models").write_bytes(b"PK")
    code, out, error = run("import", tmp_path / "air.models")
    assert (code, out) == (1, "")
    assert error.startswith("error: ")
    assert "is no file of models" in error


def test_list_shows_the_newest_and_says_so(stored, run):
    _, out, _ = run("list", "--limit", "1")
    assert out.splitlines()[1].startswith("air@2")
    assert out.splitlines()[2] == "the newest 1 versions; --limit 0 lists all"
    assert len(run("list", "--limit", "0")[1].splitlines()) == 3
