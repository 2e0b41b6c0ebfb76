"""Jobs as tables of the settings file: each mistake names the file, the table and the key."""

import tomllib
from pathlib import Path

import pytest

import nemesyst as nm
from nemesyst.errors import NemesystError
from nemesyst.run import tasks_of_tables
from nemesyst.stages import JobContext, expand, piece_feed, work

pytestmark = pytest.mark.core

SCRIPT = """
import numpy as np
import nemesyst as nm

@nm.wrangler(into="rows")
def clean(run, count: int = 3):
    yield {"i": count}

@nm.learner(nm.Feed("rows", inputs="x", targets="y", split=nm.Split(test=0.2)), model="air")
def learn(run, hidden: int = 8):
    return nm.Trained({"mean": run.feed.to_numpy()["y"].mean(0)}, metrics={"hidden": hidden})

@nm.predictor("air@champion", into="said")
def infer(run, batch):
    return {"y": np.repeat(run.model["mean"], len(batch["x"]))}
"""


@pytest.fixture
def tasks(tmp_path):
    """Tasks of a settings file's text, beside the script jobs/air.py."""
    (tmp_path / "jobs").mkdir()

    def read(text, script=SCRIPT):
        (tmp_path / "jobs" / "air.py").write_text(script)
        tables = tomllib.loads(text.replace("AIR", 'script = "jobs/air.py"'))["jobs"]
        return tasks_of_tables(tables, tmp_path / "nemesyst.toml")

    return read


def test_a_table_without_a_function_is_every_stage(tasks, tmp_path):
    found = tasks("[[jobs]]\nAIR\ntimeout = 5\nretries = 2")
    assert [task.job.name for task in found] == ["clean", "learn", "infer"]
    assert {(task.job.script, task.job.timeout, task.job.retries) for task in found} == {
        (tmp_path / "jobs/air.py", 5, 2)
    }


def test_a_function_may_have_several_jobs_that_are_told_apart(tasks):
    found = tasks(
        '[[jobs]]\nAIR\nfunction = "learn"\nargs = {hidden = 4}\n[[jobs]]\nAIR\nfunction = "learn"\nname = "big"\nargs = {hidden = 64}\n'
        '[[jobs]]\nAIR\nfunction = "learn"\n'
    )
    assert [str(task.job) for task in found] == ["learn #1", "learn big", "learn #3"]
    assert [task.job.args for task in found] == [{"hidden": 4}, {"hidden": 64}, {}]


def test_feed_model_entities_and_grid_are_changed(tasks, hub):
    hub.put("other", [{"x": i, "y": float(i % 2), "site": i % 2} for i in range(100)])
    (task,) = tasks(
        '[[jobs]]\nAIR\nfunction = "learn"\nmodel = "wind"\nentities = "site"\ngrid = {hidden = [4, 8]}\n'
        'feed = {collection = "other", split = {test = 0.5}, batch_size = 10}\n'
    )
    pieces = expand(hub, task.stage, task.job.changes).pieces
    assert [piece.label for piece in pieces] == ["[0] hidden=4", "[0] hidden=8", "[1] hidden=4", "[1] hidden=8"]
    assert piece_feed(task.stage, task.job.changes, 1).pipeline == ({"$match": {"site": 1}},)
    outcome = work(hub, task.stage, {"hidden": 4}, JobContext(entity=1, changes=task.job.changes))
    version = hub.models.get(outcome.details["versions"][0]["ref"])
    assert (version.path, version.feed["collection"], version.feed["batch_size"]) == ("wind[1]", "other", 10)
    assert hub.models.load(version.ref)["mean"] == 1


def test_what_the_arguments_say_is_no_longer_varied(tasks):
    declared = SCRIPT.replace('model="air")', 'model="air", grid={"hidden": [1, 2]})')
    table = '[[jobs]]\nscript = "jobs/air.py"\nfunction = "learn"\n'
    found = tasks(table + "args = {hidden = 5}\n" + table + "grid = {}\n" + table, declared)
    assert [task.stage.grid for task in found] == [None, None, {"hidden": (1, 2)}]


def test_a_predictors_model_rows_and_output_are_changed(tasks, hub):
    hub.put("rows", [{"x": i, "y": 1.0} for i in range(50)])
    hub.put("new", [{"x": i} for i in range(7)])
    learn, infer = tasks(
        '[[jobs]]\nAIR\nfunction = "learn"\nmodel = "m"\n[[jobs]]\nAIR\nfunction = "infer"\nmodel = "m"\nfeed = "new"\noutput = "there"\n'
    )
    work(hub, learn.stage, {}, JobContext(changes=learn.job.changes))
    work(hub, infer.stage, {}, JobContext(changes=infer.job.changes))
    assert hub.db.there.count_documents({"model": "m@1"}) == 7


def test_a_pipelines_file_lies_beside_the_settings_file(tasks, tmp_path):
    (tmp_path / "p.json").write_text('[{"$match": {"ok": true}}]')
    (task,) = tasks('[[jobs]]\nAIR\nfunction = "learn"\nfeed = {pipeline = "p.json"}')
    assert piece_feed(task.stage, task.job.changes, None).pipeline == ({"$match": {"ok": True}},)


def test_the_best_is_declared_as_text_or_table(tasks):
    one, two = tasks(
        '[[jobs]]\nAIR\nfunction = "learn"\nbest = "mae"\n[[jobs]]\nAIR\nfunction = "learn"\nbest = {metric = "val/mae", alias = "good"}\n'
    )
    assert one.stage.best == nm.Best("mae")
    assert two.stage.best.alias == "good"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "there is no key 'x'"),
        ('fnction = "learn"', "did you mean function"),
        ('function = "lern"', "did you mean learn"),
        ("function = 3", "Expected the name of a function"),
        ("args = {hidden = 3}", "Say function = one of clean, learn, infer"),
        ('function = "learn"\nargs = {hiden = 3}', "did you mean hidden"),
        ('function = "learn"\nargs = {hidden = 3}\ngrid = {hidden = [3]}', "stands in args and in grid"),
        ('function = "learn"\nfeed = {colection = "x"}', "did you mean collection"),
        ('function = "learn"\nfeed = {batch_size = 0}', "batch_size=0"),
        ('function = "learn"\nfeed = {split = {tst = 0.1}}', "feed: split: .*'tst'"),
        ('function = "learn"\nfeed = {window = {lenth = 1}}', "did you mean length"),
        ('function = "learn"\nfeed = {pipeline = "nope.json"}', "nope.json cannot be read"),
        ('function = "learn"\nmodel = "a@1"', "a new version gets its own number"),
        ('function = "learn"\noutput = "x"', "Give it model"),
        ('function = "learn"\ngrid = {hiden = [1]}', "did you mean hidden"),
        ('function = "learn"\nbest = {metric = "mae", gat = 1}', "did you mean gate"),
        ('function = "learn"\nbest = {}', "the metric is missing"),
        ('function = "learn"\nentities = ["a"]', "not known which rows"),
        ('function = "learn"\nworkers = 0', "workers=0"),
        ('function = "infer"\nentities = "site"', r"air\[\*\]@champion"),
        ('function = "infer"\nfeed = {window = {on = "t", length = 1}}', "its model's own"),
        ('function = "clean"\nmodel = "x"', "is a wrangler"),
        ('function = "clean"\noutput = "$x"', "x"),
        ("timeout = 0", "timeout = 0"),
        ("retries = -1", "retries = -1"),
    ],
)
def test_a_mistake_names_the_table_and_what_was_meant(tasks, text, said):
    with pytest.raises(NemesystError, match=rf"(?s)nemesyst.toml, \[\[jobs\]\] 2: .*{said}"):
        tasks(f'[[jobs]]\nAIR\nfunction = "clean"\n[[jobs]]\nAIR\n{text}')


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (['script = "nope.py"'], "nope.py does not exist"),
        (['function = "learn"'], "the key script is missing"),
        (['AIR\nfunction = "learn"\nname = "a"'] * 2, "a second job named 'a'"),
        (['AIR\nfunction = "infer"', 'AIR\nfunction = "infer"\nmodel = "b"'], "replace each other's predictions"),
    ],
)
def test_tables_that_cannot_be_run_are_told(tasks, texts, said):
    with pytest.raises(NemesystError, match=f"(?s){said}"):
        tasks("".join(f"[[jobs]]\n{text}\n" for text in texts))


def test_paths_are_relative_to_the_file(tasks, tmp_path, monkeypatch):
    monkeypatch.chdir(Path("/"))
    assert tasks("[[jobs]]\nAIR")[0].job.script == tmp_path / "jobs/air.py"
