from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from nemesyst.cli import main


@pytest.fixture
def stored(hub):
    """Three versions of air, the first two promoted in turn, and one of a site."""
    for n in range(3):
        hub.models.save({"w": np.full(2, n)}, "air", metrics={"mae": 0.5 - n / 10, "gap": float("nan")}, args={"n": n})
    hub.models.save({"w": np.zeros(2)}, "air[site12]", feed={"collection": "telemetry"})
    hub.models.promote("air@1", "champion", why="first")
    hub.models.promote("air@2", "champion")
    return hub.models


@pytest.fixture
def run(home, names, capsys):
    """Run ``nemesyst models ...``; gives the exit code and what was printed."""

    def run(*words):
        options = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
        with pytest.raises(SystemExit) as ended:
            main(["models", *words, *options])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.mark.usefixtures("stored")
def test_list_prints_one_aligned_line_for_each_version(run):
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["version", "air@1", "air@2", "air@3", "air[site12]@1"]
    assert [line.index("arrays") for line in lines[1:]] == [lines[0].index("framework")] * 4
    assert "champion" in lines[2]
    assert "mae 0.4" in lines[2]


@pytest.mark.usefixtures("stored")
def test_list_of_a_name_as_json(run):
    _, out, _ = run("list", "air[site12]", "--json")
    (version,) = json.loads(out)
    assert (version["ref"], version["entity"], version["feed"]) == (
        "air[site12]@1",
        "site12",
        {"collection": "telemetry"},
    )


@pytest.mark.usefixtures("stored")
def test_json_has_null_where_a_metric_is_nan(run):
    _, out, _ = run("show", "air@1", "--json")
    assert json.loads(out, parse_constant=pytest.fail)["metrics"] == {"mae": 0.5, "gap": None}


@pytest.mark.usefixtures("hub")
def test_an_empty_registry_says_so(run):
    assert run("list")[:2] == (0, "there are no models yet\n")


def test_show_prints_what_is_recorded(stored, run):
    _, out, _ = run("show", "air@champion")
    facts = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["version", "air@2"] in facts
    assert ["BLAKE3", stored.get("air@2").digest] in facts
    assert ["arguments", "n: 1"] in facts
    assert "promote - -> 1" in out
    assert "(first)" in out


def test_promote_moves_the_alias(stored, run):
    code, out, _ = run("promote", "air@latest", "champion", "--why", "better")
    assert (code, out) == (0, "air@champion is now version 3\n")
    assert stored.history("air@champion")[-1].why == "better"


def test_rollback_moves_it_back(stored, run):
    code, out, _ = run("rollback", "air@champion")
    assert (code, out) == (0, "air@champion is again version 1\n")
    assert stored.get("air@champion").number == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["show", "aur"], "no model is called 'aur': did you mean air?"),
        (["list", "wind"], "no model is called 'wind'"),
        (["promote", "air@9", "champion"], "air has no version 9; newest: 3, 2, 1"),
        (["promote", "air@1", "latest"], "cannot be set"),
        (["rollback", "air@3"], "names no alias"),
        (["show", "air@@"], "neither a number from 1 nor an alias"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_a_mistake_is_one_clear_error(run, words, text):
    code, out, error = run(*words)
    assert (code, out) == (1, "")
    assert error.startswith("error: ")
    assert text in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("stored")
def test_a_terminal_gets_a_table(home, names):
    inside, outside = pty.openpty()
    command = [
        sys.executable,
        "-c",
        "from nemesyst.cli import main; main()",
        "models",
        "list",
        "--home",
        home,
        "--state",
        names["state"],
    ]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "150"}
    process = subprocess.Popen(command, stdout=outside, stderr=outside, env=environment)
    os.close(outside)
    shown = b""
    while b"site12" not in shown:  # reading fails when the process has ended without it
        shown += os.read(inside, 4096)
    process.wait()
    os.close(inside)
    assert b"\x1b[1m" in shown
    assert process.returncode == 0
