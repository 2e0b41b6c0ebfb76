"""``nemesyst runs``: what it prints, draws, saves and exports."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from nemesyst.cli import main
from nemesyst.cli.charts import charts, thinned
from nemesyst.errors import JobError
from nemesyst.run import Job, JobReport, Kept, Series, Watcher, Work, recorded
from nemesyst.stages import Alone, Outcome

pytestmark = pytest.mark.core


@pytest.fixture
def made(hub, tmp_path):
    """A learner's run that logged and printed, and a newer one that failed."""
    work = Work("/scripts/train.py", "learn", "learn", "air", 12, {"hidden": 64, "lr": 0.1})
    job = Job(tmp_path / "train.py", "learn", "learn")
    with Kept(Watcher(), hub) as kept:
        kept.started(job)
        told = lambda event: kept.progress(job, event)  # noqa: E731 - a name for it
        with recorded(hub, work, Alone(), send=told) as recorder:
            for step in range(200):
                recorder.log({"loss/train": math.exp(-step / 50), "lr": 0.1}, step)
            recorder.log({"loss/validation": 0.25}, 199)
            kept.output(job, "epoch 1")
            kept.output(job, "epoch 2 \x1b[31m")
            recorder.done(Outcome("learn", "learn", "saved air[12]@1", {"versions": [{"ref": "air[12]@1"}]}))
        kept.ended(JobReport(job))
    with pytest.raises(JobError), recorded(hub, Work("/scripts/fill.py", "fill", "wrangle"), Alone()) as failed:
        raise JobError("the file is empty", "Choose another.")
    return recorder.run, failed.run


@pytest.fixture
def run(home, names, capsys):
    """Run ``nemesyst runs ...``; gives the exit code and what was printed."""

    def run(*words):
        options = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
        with pytest.raises(SystemExit) as ended:
            main(["runs", *map(str, words), *options])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_list_prints_the_newest_first_in_aligned_columns(run, made):
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["run", *made[::-1]]
    assert [line.index(word) for line, word in zip(lines[1:], ("wrangle fill", "learn[12]"), strict=True)] == [
        lines[0].index("job")
    ] * 2
    assert "loss/validation 0.25" in lines[2]


def test_list_narrows_by_what_runs_are(run, made):
    for words in (["--status", "failed"], ["--function", "fill"], ["--script", "fill.py"]):
        _, out, _ = run("list", *words, "--json")
        assert [each["id"] for each in json.loads(out)] == [made[1]]
    for words in (["--model", "air"], ["--entity", "12"], ["--status", "done", "--since", "1h"]):
        _, out, _ = run("list", *words, "--json")
        assert [each["id"] for each in json.loads(out)] == [made[0]]
    assert run("list", "--since", "2100-01-01")[1] == "there are no runs\n"


def test_what_cannot_be_asked_is_refused(run, made):
    assert "neither a length of time nor a time" in run("list", "--since", "yesterday")[2]
    assert "did you mean failed?" in run("list", "--status", "fail")[2]
    code, _, err = run("show", "nope")
    assert (code, "there is no run 'nope'" in err) == (1, True)


@pytest.mark.usefixtures("hub")
def test_without_runs_it_says_so(run):
    assert run("list")[1] == "there are no runs\n"
    assert "there are no runs yet" in run("show")[2]


def test_show_prints_the_record_and_draws_the_curves(run, made):
    _, out, _ = run("show", made[0])
    for text in ("done", "hidden: 64", "air[12]@1", "saved air[12]@1", "/scripts/train.py", "step           199"):
        assert text in out
    assert out.count("└0") == 3
    assert "loss/train 0.01" in out
    assert "⠉" in out


def test_show_without_an_id_shows_the_newest_and_why_it_failed(run, made):
    _, out, _ = run("show")
    assert made[1] in out
    assert "the file is empty" in out
    assert "Choose another." in out


def test_show_as_json_has_record_and_curves(run, made):
    shown = json.loads(run("show", made[0], "--json")[1])
    assert (shown["id"], shown["status"], shown["entity"], shown["args"]) == (
        made[0],
        "done",
        12,
        {"hidden": 64, "lr": 0.1},
    )
    assert shown["curves"]["loss/validation"] == [[199, 0.25, 0.25, 0.25]]
    assert len(shown["curves"]["loss/train"]) == 200


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_show_saves_a_picture(run, made, tmp_path, ending, begin):
    pytest.importorskip("matplotlib")
    assert run("show", made[0], "--picture", tmp_path / f"loss.{ending}")[0] == 0
    assert (tmp_path / f"loss.{ending}").read_bytes().startswith(begin)


def test_a_picture_that_cannot_be_made_is_refused(run, made, tmp_path):
    pytest.importorskip("matplotlib")
    assert "Use .png or .svg." in run("show", made[0], "--picture", tmp_path / "loss.doc")[2]
    assert "logged nothing" in run("show", made[1], "--picture", tmp_path / "loss.png")[2]
    assert "cannot be written" in run("show", made[0], "--picture", tmp_path / "no" / "loss.png")[2]


def test_tail_prints_output_and_values_to_the_end(run, made):
    _, out, _ = run("tail", made[0], "--lines", "1")
    assert out.splitlines() == ["epoch 2 \\u001b[31m", "step 199  loss/validation 0.25", f"run {made[0]}: done"]
    assert run("tail", made[1])[1].splitlines()[-1] == f"run {made[1]}: failed: the file is empty"
    lines = [json.loads(line) for line in run("tail", made[0], "--json")[1].splitlines()]
    assert lines[0] == {"output": "epoch 1"}
    assert lines[-1] == {"step": 199, "values": {"loss/validation": 0.25}}


def test_stop_says_what_is_over(run, made):
    assert run("stop", made[0])[1] == f"run {made[0]} is over already: done\n"
    assert json.loads(run("stop", made[1], "--json")[1]) == [{"run": made[1], "asked": False, "status": "failed"}]


def test_export_to_tensorboard_has_steps_times_and_arguments(run, made, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - the writer's own module is there

    for _ in range(2):  # the second takes the place of the first
        assert run("export", made[0], "--tensorboard", tmp_path)[0] == 0
    (file,) = (tmp_path / made[0]).iterdir()
    data, events, at = file.read_bytes(), [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        events.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += length + 16
    scalars = [
        (event.step, value.tag, value.simple_value)
        for event in events
        for value in event.summary.value
        if value.HasField("simple_value")
    ]
    assert [(step, round(value, 4)) for step, tag, value in scalars if tag == "loss/train"][:2] == [
        (0, 1.0),
        (1, 0.9802),
    ]
    assert {event.wall_time > 1.7e9 for event in events} == {True}
    assert b"hidden" in data


@pytest.mark.slow
def test_export_to_mlflow_has_curves_arguments_status_and_tags(run, made, tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"file://{tmp_path}/mlruns"
    for _ in range(2):
        assert run("export", *made, "--mlflow", uri)[0] == 0
    client = MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("air").experiment_id])
    assert (found.info.status, found.data.params) == ("FINISHED", {"hidden": "64", "lr": "0.1"})
    assert found.data.tags["nemesyst.run"] == made[0]
    history = client.get_metric_history(found.info.run_id, "loss/train")
    assert [point.step for point in history] == list(range(200))
    assert history[0].timestamp > 1.7e12
    (failed,) = client.search_runs([client.get_experiment_by_name("fill").experiment_id])
    assert (failed.info.status, failed.data.tags["nemesyst.error"]) == ("FAILED", "the file is empty")


def test_export_without_its_library_says_what_to_install(run, made, tmp_path, monkeypatch):
    for option, name, extra in (
        ("--tensorboard", "tensorboardX", "tensorboard"),
        ("--mlflow", "mlflow.exceptions", "mlflow"),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        assert f"nemesyst[{extra}]" in run("export", made[0], option, tmp_path)[2]
    assert "nowhere to export to" in run("export", made[0])[2]


def series(values, steps=None):
    values = np.asarray(values, float)
    return Series(np.arange(len(values)) if steps is None else np.asarray(steps), np.zeros(len(values)), values)


def test_a_chart_of_a_line_goes_from_corner_to_corner():
    drawn = charts({"up": series(range(20))}, width=20, height=4).splitlines()
    assert drawn[0] == "up 19"
    assert drawn[1].startswith("19 ┤")
    assert drawn[4].startswith(" 0 ┤")
    assert (drawn[1][-1], drawn[4][4]) != (" ", " ")
    assert drawn[5].endswith("19")


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [math.nan, math.inf, 1.0], [1e308, -1e308], [5e-324, 0.0], []])
def test_any_values_can_be_drawn(values):
    with np.errstate(all="raise", under="ignore"):
        assert isinstance(charts({"odd": series(values)}), str)


def test_a_thinned_curve_keeps_the_extremes():
    values = np.sin(np.arange(100_000))
    values[777] = 9.0
    thin = thinned(series(values), 50)
    assert len(thin.mean) == 50
    assert (thin.high.max(), thin.steps[0], thin.steps[-1]) == (9.0, 0, 99_999)


def test_curves_of_one_group_share_a_chart_in_colour():
    both = {"loss/a": series([1, 2]), "loss/b": series([2, 1])}
    assert charts(both, colours=True).count("└") == 1
    assert charts(both).count("└") == 2
