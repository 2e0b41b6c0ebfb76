from __future__ import annotations

import json

import pytest

from nemesyst.cli import main

from .telemetry import learn, put, spec

SCRIPT = """
import nemesyst as nm
import torch


def make(bias):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    torch.nn.init.zeros_(net[1].weight)
    torch.nn.init.constant_(net[1].bias, bias)
    return net


@nm.learner(nm.Feed("tel", inputs=["air"]), model="net", build=make)
def learn(run):
    return nm.Trained(make(0.0))
"""


@pytest.fixture
def run(home, names, capsys):
    def run(*words):
        options = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
        with pytest.raises(SystemExit) as ended:
            main(["models", *map(str, words), *options])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def script(hub, tmp_path):
    """Two versions of net in the registry; the second one is better. The script that makes such models."""
    pytest.importorskip("torch")
    put(hub)
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    names = {}
    exec(SCRIPT, names)
    for bias in (0.0, 20.0):
        feed = hub.feed(spec(scale=None))
        hub.models.save(names["make"](bias), "net", feed=feed, build=names["make"], args={"bias": bias})
    return file


def test_evaluate_prints_a_table(run, script):
    code, out, _ = run("evaluate", "net@1", "net@2", "--metric", "mae", "--baseline", "persistence", "--script", script)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:-1]] == ["net@1", "net@2", "persistence"]
    code, out, _ = run("evaluate", "net@2", "--script", script, "--build", "make", "--json", "--metric", "rmse")
    assert [row["metric"] for row in json.loads(out)] == ["rmse"]


def test_a_script_imports_what_lies_beside_it(run, script):
    script.with_name("beside_the_script.py").write_text(SCRIPT)
    script.write_text("from beside_the_script import make")
    code, out, err = run("evaluate", "net@2", "--script", script, "--build", "make")
    assert (code, err) == (0, "")
    assert "net@2" in out


def test_evaluate_on_the_rows_of_a_file_or_another_collection(run, script, hub, tmp_path):
    file = tmp_path / "feed.json"
    file.write_text(json.dumps({"collection": "tel", "pipeline": [{"$match": {"t": {"$gte": 600}}}]}))
    code, out, _ = run("evaluate", "net@1", "--on", file, "--part", "all", "--script", script)
    assert (code, out.splitlines()[-1].split(",")[0]) == (0, "tel")
    put(hub, collection="other")
    code, out, _ = run("evaluate", "net@1", "--on", "other", "--script", script)
    assert "test part of other" in out


def test_promote_over_the_champion_by_a_metric(run, script, hub):
    asked = ("--metric", "mae", "--script", script)
    assert run("promote", "net@1", "champion", *asked)[0] == 0
    assert run("promote", "net@2", "champion", "--over", "net@champion", *asked)[1] == "net@champion is now version 2\n"
    code, _, err = run("promote", "net@1", "champion", *asked)
    assert code == 1
    assert "net@1 is not promoted to champion: mae is" in err
    assert hub.models.get("net@champion").number == 2
    assert run("promote", "net@1", "champion", "--why", "on purpose")[0] == 0


def test_card_writes_a_file(run, hub, tmp_path):
    put(hub)
    learn(hub, spec=spec())
    file = tmp_path / "air.html"
    assert run("card", "air", "--output", file)[1].strip() == str(file)
    assert file.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["evaluate", "net@1", "--part", "tests"], "--part tests"),
        (["evaluate", "net@1", "--build", "make"], "--build make without --script"),
        (["evaluate", "net@1", "--script", "nowhere.py"], "nowhere.py does not exist"),
        (["evaluate", "net@1", "--on", "nowhere.json"], "--on nowhere.json: No such file"),
        (["promote", "net@1", "champion", "--over", "net@2"], "without --metric"),
        (["card", "net@1", "--output", "/nowhere/x.html"], "--output /nowhere/x.html"),
    ],
)
@pytest.mark.usefixtures("script")
def test_what_does_not_fit_is_one_line_with_a_remedy(run, words, text):
    code, _, err = run(*words)
    assert code == 1
    assert text in err
    assert "Traceback" not in err


def test_a_script_that_fails_is_told_in_a_line(run, script, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    code, _, err = run("evaluate", "net@1", "--script", broken)
    assert (code, "ZeroDivisionError" in err, "Traceback" in err) == (1, True, False)
    code, _, err = run("evaluate", "net@1", "--script", script, "--build", "mak")
    assert "did you mean make?" in err
