"""Fleets: what each entity learns from is what its own feed gives; versions like any other."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from bson import ObjectId

torch = pytest.importorskip("torch")

import nemesyst as nm
from nemesyst.errors import FeedError, ModelError, ReplayError, ScriptError
from nemesyst.stages import JobContext, load_script, work
from nemesyst.stages.entities import narrowed
from nemesyst.stages.fleets.data import EntityRows, read_group
from nemesyst.stages.fleets.feed import groups_of
from nemesyst.stages.fleets.training import learn_group, task_of

pytestmark = pytest.mark.slow

WINDOW = nm.Window(by="site", on="t", length=4)
LATER = nm.Split(on="t", validation_from=20)
FEED = nm.Feed(
    "rows",
    inputs=["air", "power"],
    targets="air",
    window=WINDOW,
    split=LATER,
    scale="standard",
    batch_size=8,
    shuffle=True,
)
LENGTHS = {"north": 30, "south": 41, "east": 7, 12: 26, "short": 3}


def make_net(hidden: int = 4):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = torch.nn.GRU(2, hidden, batch_first=True), torch.nn.Linear(hidden, 1)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1] if x.ndim == 3 else self.rnn(x.unsqueeze(1))[0][:, -1])

    return Net()


def make_normed():
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(4))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rows(hub):
    random = np.random.default_rng(0)
    hub.put(
        "rows",
        [
            {
                "site": site,
                "t": t,
                "at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10 * t),
                "unit": f"{site}/{t % 2}",
                "air": float(np.sin(t) * (n + 1) + 100 * n),
                "power": float(random.normal(n, n + 1)),
                "on": bool(t % 3),
                "state": "ok",
            }
            for n, (site, length) in enumerate(LENGTHS.items())
            for t in range(length)
        ],
        key=("site", "t"),
    )
    return hub


def read(hub, feed):
    """What every site has."""
    return [each for group in groups_of(list(LENGTHS), 3) for each in read_group(hub, feed, "site", group)]


def declared(**changes):
    return nm.fleet(make_net, **{"entities": "site", "feed": FEED, "model": "air", "epochs": 2, **changes})


FEEDS = {
    "windows": FEED,
    "plain rows": FEED.with_(window=None, split=nm.Split(validation=0.3)),
    "no split": FEED.with_(split=None),
    "by minmax": FEED.with_(scale="minmax"),
    "robust": FEED.with_(scale="robust"),
    "no device": FEED.with_(window=nm.Window(on="t", length=4, horizon=2), split=nm.Split(validation=0.2)),
    "other devices": FEED.with_(window=nm.Window(by="unit", on="t", length=3), split=nm.Split(validation=0.4)),
    "a grid": FEED.with_(
        window=nm.Window(by="site", on="at", length=4, every="20s"),
        split=nm.Split(on="at", validation_from=datetime(2026, 1, 1, 0, 3, tzinfo=UTC)),
    ),
    "several inputs": FEED.with_(
        inputs={"seq": ["air"], "static": ["power"]}, window=nm.Window(by="site", on="t", length=4, known="power")
    ),
    "a pipeline": FEED.with_(
        pipeline=[{"$match": {"on": True}}, {"$project": {"air": 1, "power": {"$abs": "$power"}, "t": 1, "site": 1}}]
    ),
    "a pipeline without the field": FEED.with_(
        pipeline=[{"$project": {"_id": 1, "air": 1, "power": 1, "t": 1}}], window=None, split=None
    ),
    "classes": FEED.with_(targets="on"),
}


@pytest.mark.parametrize("name", FEEDS)
def test_an_entity_has_the_samples_and_the_scale_of_its_own_feed(rows, name):
    feed = FEEDS[name]
    for value, found in read(rows, feed):
        own = rows.feed(narrowed(feed if isinstance(found, EntityRows) else feed.with_(scale=None), "site", value))
        counts = {part: sum(len(batch["y"]) for batch in getattr(own, part)) for part in ("train", "validation")}
        if isinstance(found, str):
            assert counts["train"] == 0
            continue
        assert {part: found.rows.get(part, 0) for part in counts} == counts
        recorded = own.recorded()
        assert found.spec == own.spec
        scale, ours = recorded["prepared"]["scale"], found.recorded()["prepared"]["scale"]
        assert ours.keys() == scale.keys()
        for array in scale:
            np.testing.assert_allclose(ours[array]["centre"], scale[array]["centre"], rtol=1e-6)
            np.testing.assert_allclose(ours[array]["spread"], scale[array]["spread"], rtol=1e-6)
        for part in counts:
            unshuffled = rows.feed({**recorded, "shuffle": False})
            expected = list(getattr(unshuffled, part))
            for array in found.parts[part]:
                together = np.concatenate([batch[array] for batch in expected])
                np.testing.assert_allclose(found.parts[part][array], together, rtol=1e-6)


def test_a_fleet_stores_a_version_for_each_entity_that_loads_like_any_other(rows):
    report = declared(metrics={"mae": nm.mae}, promote="champion", text="how warm").train(rows)
    assert set(report.versions) == {"north", "south", "east", "12"}
    assert report.skipped == {"short": "it has no window of 5 steps in the train part"}
    version = rows.models.get("air[north]@champion")
    assert version.ref == "air[north]@1"
    assert version.rows == {"train": 16, "validation": 6}
    assert version.args == {"hidden": 4}
    assert version.learner["args"] == {"epochs": 2, "learning_rate": 0.001, "patience": None, "hidden": 4}
    assert version.lineage["fingerprint"] == narrowed(FEED, "site", "north").fingerprint
    assert set(rows.models.curves(version.ref)) == {"loss/train", "loss/validation"}
    net = rows.models.load(version.ref, build=make_net, verify=True)
    assert type(net.rnn) is torch.nn.GRU
    own = rows.feed(version.feed)
    table = rows.models.evaluate([version.ref], own.validation, metrics={"mae": nm.mae}, build=make_net)
    assert table[version.ref, "mae"].value == pytest.approx(version.metrics["mae"], rel=1e-4)
    assert "4 models saved" in str(report)
    assert "short: it has no window" in str(report)


def test_a_model_is_the_same_whoever_is_trained_beside_it(rows):
    task = task_of(_run(rows, declared()), declared().plain("air"))
    found = {value: rows for value, rows in read(rows, FEED) if isinstance(rows, EntityRows)}
    together = learn_group(task, list(found.values()), "cpu")
    ((_, north),) = read_group(rows, FEED, "site", ["north"])
    (alone,) = learn_group(task, [north], "cpu")
    assert north.digest == found["north"].digest
    same = next(each for each in together if each.name == "north")
    for name, values in alone.state.items():
        np.testing.assert_allclose(values, same.state[name], rtol=1e-4, atol=1e-6)


def _run(hub, fleet):
    from nemesyst.stages import Run, arguments_of

    return Run(hub, args=arguments_of(fleet.plain("air"), {}))


def test_groups_do_not_matter(rows):
    declared(group=2).train(rows)
    declared(model="other").train(rows)
    for entity in ("north", "east", "12"):
        one, other = (rows.models.load(f"{name}[{entity}]", build=make_net) for name in ("air", "other"))
        for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_second_run_trains_what_has_changed_alone(rows):
    fleet = declared()
    fleet.train(rows)
    rows.put("rows", [{"site": "north", "t": 19.5, "air": 1.0, "power": 1.0}], key=("site", "t"))
    report = fleet.train(rows)
    assert set(report.versions) == {"north"}
    assert report.unchanged == {"south": "air[south]@1", "east": "air[east]@1", "12": "air[12]@1"}
    assert set(fleet.train(rows, hidden=3).versions) == {"north", "south", "east", "12"}
    assert set(fleet.train(rows, hidden=3, again=True).versions) == {"north", "south", "east", "12"}


def test_after_an_interruption_the_groups_that_were_stored_are_not_trained_again(rows):
    fleet = declared(group=1, entities={"site": ["north", "south"]})
    rows.put("rows", [{"site": "south", "t": 90, "air": 1.0}], key=("site", "t"))  # no power: its group cannot be read
    with pytest.raises(FeedError, match="power"):
        fleet.train(rows)
    rows.db.rows.delete_one({"site": "south", "t": 90})
    report = fleet.train(rows)
    assert report.unchanged == {"north": "air[north]@1"}
    assert set(report.versions) == {"south"}


def test_a_loss_that_is_no_number_leaves_the_others(rows):
    rows.put("rows", [{"site": "nan", "t": t, "air": float("nan"), "power": 1.0} for t in range(9)], key=("site", "t"))
    report = declared().train(rows)
    assert "nan" not in report.versions
    assert "its loss became nan in epoch 1" in report.skipped["nan"]
    assert len(report.versions) == 4


SCRIPT = """
import torch
import nemesyst as nm

def make_net(hidden: int = 4):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = torch.nn.LSTM(2, hidden, batch_first=True), torch.nn.Linear(hidden, 1)
        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])
    return Net()

FEED = nm.Feed("rows", inputs=["air", "power"], targets="air", window=nm.Window(by="site", on="t", length=4),
               scale="standard", batch_size=8, shuffle=True)
air = nm.fleet(make_net, entities="site", feed=FEED, model="air", epochs=2, learning_rate=0.01)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_has_it_as_one_job_with_typed_arguments(rows, script):
    stage = load_script(script).stage("air")
    outcome = work(rows, stage, {"air": {"epochs": "1", "hidden": "3"}}, JobContext(script))
    assert outcome.kind == "learn"
    assert outcome.details["stored"] == 4
    assert rows.models.get("air[south]").learner["function"] == "air"
    assert rows.models.get("air[south]").args == {"hidden": 3}
    assert rows.models.get("air[south]").learner["args"]["epochs"] == 1


def test_one_version_is_replayed_alone(rows, script):
    work(rows, load_script(script).stage("air"), {}, JobContext(script))
    rows.put("rows", [{"site": "south", "t": 300, "air": 0.0, "power": 0.0}], key=("site", "t"))
    told = rows.models.replay("air[south]")
    assert told.same, told
    assert told.tolerance > 0
    script.write_text(SCRIPT.replace("hidden, 1)", "hidden, 1, bias=True)"))
    with pytest.raises(ReplayError, match="the code of air has changed"):
        rows.models.replay("air[north]")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"feed": FEED.with_(pipeline=[{"$match": {"site": {"$param": "entity"}}}])}, "asks for"),
        ({"feed": FEED.with_(pipeline=[{"$limit": 5}])}, r"the stage \$limit"),
        ({"feed": FEED.with_(targets=None)}, "no targets"),
        ({"feed": FEED.with_(weight="power")}, "weight="),
        ({"feed": "rows"}, "is not a feed"),
        ({"model": "air[north]"}, "names an entity itself"),
        ({"args": {"hiden": 3}}, "no argument 'hiden'"),
        ({"group": 0}, "group=0"),
        ({"metrics": ["mae"]}, "metrics="),
    ],
)
def test_what_does_not_fit_is_told_where_it_is_declared(changes, told):
    with pytest.raises(ScriptError, match=told):
        declared(**changes)


def test_a_layer_that_cannot_be_batched_is_told_before_any_row_is_read(rows):
    with pytest.raises(ModelError, match=r"Sequential.1 is a torch.nn.BatchNorm1d"):
        nm.fleet(make_normed, entities="site", feed=FEED, model="air").train(rows)
    assert rows.state.list_collection_names(filter={"name": "plans"}) == []


def test_texts_among_inputs_are_told(rows):
    with pytest.raises(FeedError, match="hold texts"):
        declared(feed=FEED.with_(inputs=["air", "state"], scale=None)).train(rows)


def test_a_device_that_moved_is_told(rows):
    rows.put("rows", [{"site": "east", "t": 500, "unit": "north/0", "air": 1.0, "power": 1.0}], key=("site", "t"))
    with pytest.raises(
        FeedError, match="unit 'north/0' has rows of site 'north' and of 'east'|of site 'east' and of 'north'"
    ):
        declared(feed=FEEDS["other devices"]).train(rows)


def test_a_mistyped_argument_is_told(rows):
    with pytest.raises(ScriptError, match="did you mean epochs"):
        declared().train(rows, epoch=3)


def make_line():
    return torch.nn.Linear(1, 1)


def test_an_entity_may_be_an_objectid(hub):
    devices = [ObjectId() for _ in range(2)]
    rows = [{"i": i, "device": devices[i % 2], "x": float(i % 7), "y": 2.0 * (i % 7)} for i in range(80)]
    hub.put("devices", rows, key="i")
    fleet = nm.fleet(
        make_line, entities="device", feed=nm.Feed("devices", inputs="x", targets="y"), model="air", epochs=1
    )
    versions = fleet.train(hub).versions
    assert set(versions) == {str(device) for device in devices}
    assert versions[str(devices[0])].learner["entity"] == str(devices[0])
