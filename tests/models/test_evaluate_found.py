"""Which stored results are found again, and which are not: they decide on what gates let through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from bson import DatetimeMS

import nemesyst as nm
from nemesyst.errors import GateError, ModelError, NemesystError, SettingsError
from nemesyst.models.evaluation.identity import of_inputs

from .telemetry import learn, predict, put, spec

pytestmark = pytest.mark.slow


@pytest.fixture
def feed(hub):
    put(hub)
    return hub.feed(spec())


def flattering(model, batch):
    return predict(model, batch) * 0.0


def value(hub, part, **given):
    return hub.models.evaluate("air@1", part, "mae", **{"predict": predict, **given}).rows[0]


@pytest.mark.parametrize(
    "change",
    [
        {"value": "x"},
        {"samples": None},
        {"better": "up"},
        {"sums": b"123"},
        {"sums": b"12345678", "columns": 0},
        {"shown": {"truth": 5}},
        {"origin": {"as_of": 5}},
        {"when": DatetimeMS(2**60)},
        {"candidate": 5},
        {"definition": ["mae"]},
    ],
    ids=str,
)
def test_a_damaged_result_is_one_clear_error_and_can_be_computed_again(hub, feed, change):
    learn(hub, spec=spec())
    wanted = value(hub, feed.test).value
    hub.state.evaluations.update_one({}, {"$set": change})
    for read in (lambda: value(hub, feed.test), lambda: hub.models.card("air@1")):
        with pytest.raises(ModelError, match=rf"evaluation of .* is damaged: its {next(iter(change))} .*\n.*_id"):
            read()
    assert value(hub, feed.test, refresh=True).value == wanted


def test_results_of_another_predict_are_not_found(hub, feed):
    learn(hub, spec=spec())
    odd = value(hub, feed.test, predict=flattering)
    own = value(hub, feed.test)
    assert not own.found
    assert own.value != odd.value
    assert value(hub, feed.test).found
    assert value(hub, feed.test, predict=flattering).value == odd.value
    with pytest.raises(NemesystError):
        hub.models.evaluate("air@1", feed.test, "mae")  # arrays predict nothing by themselves


def test_a_predict_that_has_no_fingerprint_is_neither_stored_nor_found(hub, feed):
    learn(hub, spec=spec())
    rng = np.random.default_rng(0)

    def drawn(model, batch):
        return predict(model, batch) + rng.normal()

    assert not value(hub, feed.test, predict=drawn).found
    assert hub.state["evaluations"].count_documents({}) == 0
    assert not value(hub, feed.test, predict=drawn).found


@pytest.mark.parametrize("how", ["build", "architecture"])
def test_results_of_another_build_are_not_found(hub, feed, how):
    torch = pytest.importorskip("torch")
    from nemesyst.models import architectures

    def make():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))

    def other():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Hardtanh(0.0, 0.001))

    def ask(build):
        if how == "build":
            return hub.models.evaluate("net@1", feed.test, "mae", build=build).rows[0]
        architectures._registered["of the test"] = build  # another process registers another function
        return hub.models.evaluate("net@1", feed.test, "mae").rows[0]

    try:
        saved = nm.architecture("of the test")(make) if how == "architecture" else make
        hub.models.save(make(), "net", feed=feed, build=saved)
        one, two = ask(other), ask(make)
        assert not two.found
        assert one.value != two.value
        assert ask(other).found
        assert ask(make).found
    finally:
        architectures._registered.pop("of the test", None)


def test_a_gate_does_not_pass_on_what_another_predict_said(hub, feed):
    learn(hub, spec=spec())
    learn(hub, spec=spec(), shift=9.0)
    hub.models.promote("air@1", "champion")

    def cheating(model, batch):
        return predict(model, batch) - (model["w"][-1] > 4) * 9.0 + (model["w"][-1] <= 4) * 9.0

    found = hub.models.evaluate(["air@1", "air@2"], feed.test, "mae", predict=cheating)
    assert found["air@2", "mae"].value < found["air@1", "mae"].value
    with pytest.raises(GateError, match="air@2 is not promoted"):
        hub.models.promote("air@2", "champion", on=feed.test, metric="mae", predict=predict)


@pytest.mark.parametrize("kind", ["windows", "rows"])
def test_inputs_that_were_changed_in_place_are_noticed(hub, kind):
    put(hub)
    rows = nm.Feed("tel", inputs=["air", "power"], targets=["air"], split=nm.Split(test=0.3), scale="standard")
    on = spec() if kind == "windows" else rows
    learn(hub, spec=on)
    before = value(hub, hub.feed(on).test)
    assert value(hub, hub.feed(on).test).found
    hub.db["tel"].update_many({"t": {"$gte": 300}}, {"$inc": {"power": 400.0}})  # no target, and no id
    after = value(hub, hub.feed(on).test)
    assert not after.found
    assert after.rows == before.rows
    assert after.inputs != before.inputs
    assert value(hub, hub.feed(on).test).found


def test_results_that_were_made_long_after_their_cutoff_are_found_only_by_what_was_read(hub, feed):
    learn(hub, spec=spec())
    value(hub, feed.test)
    stored = hub.state["evaluations"]
    later = datetime.now(UTC) + timedelta(hours=1)  # the server may have had other rows than those of the cutoff
    stored.update_many({}, {"$set": {"when": later}})
    assert value(hub, feed.test).found
    stored.update_many({}, {"$set": {"when": later, "inputs": "of what was read then"}})
    again = value(hub, feed.test)
    assert not again.found
    assert value(hub, feed.test).found


def test_the_mean_is_learnt_again_where_the_train_part_has_changed(hub):
    own = spec(split=nm.Split(on="t", test_from=600))
    put(hub)
    asked = {"baselines": ["mean", "persistence"]}
    learn(hub, spec=own)
    before = hub.models.evaluate("air@1", hub.feed(own).test, "mae", predict=predict, **asked)
    hub.db["tel"].update_many({"t": {"$lt": 300}}, {"$inc": {"air": 50.0}})
    after = hub.models.evaluate("air@1", hub.feed(own).test, "mae", predict=predict, **asked)
    assert after.rows[0].rows == before.rows[0].rows
    assert after["mean", "mae"].value > before["mean", "mae"].value + 5
    assert after["persistence", "mae"].found


def test_the_digest_of_inputs_sees_every_array_however_wide_it_is():
    rng = np.random.default_rng(0)
    key = np.arange(5, dtype=np.uint64)
    batch = {
        "x": rng.normal(size=(5, 3)).astype(np.float32),
        "image": rng.integers(0, 255, (5, 30, 30), np.uint8),
        "text": np.array([["a"], ["b"], [None], ["c"], ["d"]], object),
        "mask.x": np.ones((5, 3), bool),
        "y": np.zeros(5),
    }
    first = of_inputs(key, batch)
    order = np.array([3, 1, 0, 4, 2])
    assert (of_inputs(key[order], {name: each[order] for name, each in batch.items()}) == first[order]).all()
    for name, other in (("x", 9.0), ("image", 256 - 1), ("text", "z"), ("mask.x", False)):
        changed = {**batch, name: batch[name].copy()}
        changed[name].reshape(5, -1)[2, 0] = other
        assert np.flatnonzero(of_inputs(key, changed) != first).tolist() == [2]


@pytest.mark.parametrize("of", ["collections", "pipelines"])
def test_a_gate_refuses_results_over_other_inputs(hub, feed, of):
    for shift in (1.0, 0.0):
        learn(hub, spec=spec(), shift=shift)
    hub.models.promote("air@1", "champion")
    if of == "collections":
        hub.put("copy", [{**row, "power": 0.0} for row in hub.db["tel"].find({}, {"_id": 0})], key=("unit", "t"))
        other, named = spec().with_(collection="copy"), "copy"
    else:
        other, named = spec(pipeline=[{"$set": {"power": 0.0}}]), "power"
    mine = hub.models.evaluate("air@1", feed.test, "mae", predict=predict)
    theirs = hub.models.evaluate("air@2", hub.feed(other).test, "mae", predict=predict)
    assert mine.rows[0].rows == theirs.rows[0].rows
    with pytest.raises(GateError, match=f"(?s)its result is over .*{named}.*that of air@1 over .*tel, part test"):
        hub.models.promote("air@2", "champion", on=[mine, theirs], metric="mae")
    both = hub.models.evaluate(["air@1", "air@2"], hub.feed(other).test, "mae", predict=predict)
    assert both["air@1", "mae"].origin["collection"] == other.collection
    assert hub.models.promote("air@2", "champion", on=[mine, both], metric="mae", confidence=None, margin=-9.0)


def test_a_gate_refuses_results_between_which_inputs_have_changed(hub, feed):
    for shift in (1.0, 0.0):
        learn(hub, spec=spec(), shift=shift)
    hub.models.promote("air@1", "champion")
    mine = hub.models.evaluate("air@1", feed.test, "mae", predict=predict)
    hub.db["tel"].update_many({"t": {"$gte": 300}}, {"$inc": {"power": 400.0}})
    theirs = hub.models.evaluate("air@2", hub.feed(spec()).test, "mae", predict=predict)
    with pytest.raises(GateError, match="the inputs of the rows .* have changed between its result and that of air@1"):
        hub.models.promote("air@2", "champion", on=[mine, theirs], metric="mae")


@pytest.mark.parametrize("offered", [True, False])
def test_a_version_cannot_beat_itself_where_the_alias_means_nothing(hub, feed, offered):
    learn(hub, spec=spec())
    on = hub.models.evaluate("air@1", feed.test, "mae", predict=predict) if offered else feed.test
    with pytest.raises(GateError, match="over=air@1 is air@1 itself"):
        hub.models.promote("air@1", "new", over="air@1", on=on, metric="mae", predict=predict)


def test_a_gate_has_one_metric(hub, feed):
    learn(hub, spec=spec())
    with pytest.raises(SettingsError, match="metric= names 2 metrics"):
        hub.models.promote("air@1", "new", on=feed.test, metric=[nm.mae, nm.r2], predict=predict)


def raising(*_batch):
    raise KeyError("air")


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"build": 5}, SettingsError, "build=5 is no function"),
        ({"build": {"air": 5}}, SettingsError, r"build\['air'\]=5 is no function"),
        ({"predict": 5}, SettingsError, "predict=5 is no function"),
        ({"baselines": 5}, SettingsError, "baselines=5 is neither a list nor a baseline"),
        ({"baselines": [raising]}, ModelError, r"the function raising fails on a batch with x .*: KeyError: 'air'"),
        ({"build": raising}, ModelError, "air@1: the function raising, which makes its model, fails .*KeyError: 'air'"),
    ],
)
def test_arguments_that_do_not_fit_and_functions_that_fail_are_named(hub, feed, given, kind, text):
    learn(hub, spec=spec())
    with pytest.raises(kind, match=text) as caught:
        value(hub, feed.test, **given)
    assert kind is SettingsError or isinstance(caught.value.__cause__, KeyError)


def test_no_baselines_and_a_single_one(hub, feed):
    learn(hub, spec=spec())
    assert value(hub, feed.test, baselines=None).samples
    found = hub.models.evaluate("air@1", feed.test, "mae", predict=predict, baselines="persistence")
    assert found.candidates == ["air@1", "persistence"]
