from __future__ import annotations

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import GateError, SettingsError, UnknownModelError

from .telemetry import learn, predict, put, spec

pytestmark = pytest.mark.slow


@pytest.fixture
def feed(hub):
    put(hub)
    return hub.feed(spec())


@pytest.fixture
def versions(hub, feed):
    """air@1 is bad, air@2 good, air@3 hardly better than air@2; champion is air@1."""
    learn(hub, spec=spec(), shift=1.0)
    learn(hub, spec=spec())
    learn(hub, spec=spec(), shift=1e-6)
    hub.models.promote("air@1", "champion", why="first")
    return evaluate(hub, ["air@1", "air@2", "air@3"], feed.test)


def evaluate(hub, refs, part, metrics=(nm.mae, nm.r2), **given):
    return hub.models.evaluate(refs, part, list(metrics), predict=predict, **given)


def test_a_better_version_is_promoted_and_the_evidence_is_written_down(hub, versions):
    version = hub.models.promote("air@2", "champion", over="air@champion", on=versions, metric="mae", why="lower")
    assert version.aliases == ("champion",)
    move = hub.models.history("air@champion")[-1]
    assert (move.source, move.target, move.why) == (1, 2, "lower")
    told = move.evidence
    assert told["value"] == versions["air@2", "mae"].value
    assert told["over"] == {"candidate": "air@1", "value": versions["air@1", "mae"].value}
    low, high = told["interval"]
    assert low < told["difference"] < high < 0
    assert told["rows"] == versions["air@1", "mae"].rows
    assert told["origin"]["part"] == "test"
    assert told["samples"] == versions.samples


@pytest.mark.usefixtures("versions")
def test_a_gate_evaluates_on_the_part_that_is_given(hub, feed):
    def flat(batch):
        return np.full(len(batch["x"]), 20.0)

    hub.models.evaluate([flat], feed.test, "mae")
    torch = pytest.importorskip("torch")

    def make():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))

    net = make()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.zero_()
    hub.models.save(net, "net", feed=feed, build=make)
    with torch.no_grad():
        net[1].bias.fill_(9.0)
    hub.models.save(net, "net", feed=feed, build=make)
    hub.models.promote("net@2", "champion", on=feed.test, metric=nm.mae, build=make)
    assert hub.models.promote("net@1", "champion", on=feed.test, metric=nm.mae, build=make).ref == "net@1"
    with pytest.raises(GateError, match=r"net@2 is not promoted to champion: mae is .* for net@1"):
        hub.models.promote("net@2", "champion", on=feed.test, metric=nm.mae, build=make)


@pytest.mark.parametrize(
    ("ref", "given", "text"),
    [
        ("air@3", {"over": "air@1"}, None),
        ("air@1", {}, None),  # it is the champion already
        (
            "air@2",
            {"margin": 100.0},
            r"mae is .*, and .* for air@1, over .* samples: .* required: lower by more than 100",
        ),
        ("air@2", {"metric": "r2", "margin": 0.0}, None),
        ("air@2", {"min_samples": 10**6}, "there are .* samples to compare on, and 1,000,000 are required"),
        ("air@2", {"metric": "mea"}, "there is no mea of air@2; did you mean mae"),
        ("air@2", {"better": "higher"}, "mae is better when it is lower"),
        ("air@2", {"over": "air@3"}, "over=air@3 is air@3, but air@champion means air@1"),
        ("air@2", {"confidence": None, "margin": 100.0}, "the difference is"),
    ],
)
def test_a_gate_refuses_and_says_why(hub, versions, ref, given, text):
    asked = {"on": versions, "metric": "mae", **given}
    if text is None:
        assert hub.models.promote(ref, "champion", **asked).ref == ref
        return
    with pytest.raises(GateError, match=f"(?s){text}"):
        hub.models.promote(ref, "champion", **asked)
    assert hub.models.get("air@champion").number == 1


def test_a_difference_that_may_be_chance_does_not_pass(hub, versions):
    hub.models.promote("air@2", "champion", on=versions, metric="mae")
    with pytest.raises(GateError, match="with a confidence of 0.95; required: lower by more than 0"):
        hub.models.promote("air@3", "champion", on=versions, metric="mae")


def test_results_on_different_rows_are_refused(hub, feed, versions):
    other = evaluate(hub, "air@2", hub.feed(spec(pipeline=[{"$match": {"t": {"$gte": 300}}}])).test)
    mine = evaluate(hub, "air@1", feed.test)
    with pytest.raises(GateError, match=r"its result is over the rows .*, and that of air@1 over .*: different rows"):
        hub.models.promote("air@2", "champion", on=[other, mine], metric="mae")
    assert hub.models.promote("air@2", "champion", on=[other, mine, versions], metric="mae").ref == "air@2"


def test_a_metric_that_is_nan_never_passes(hub, feed):
    for shift in (0.0, 1.0):
        learn(hub, spec=spec(), shift=shift)

    def broken(model, batch):
        return predict(model, batch) * (np.nan if abs(model["w"][-1][0]) < 0.9 else 1)

    found = hub.models.evaluate(["air@1", "air@2"], feed.test, "mae", predict=broken)
    nan = next(row.candidate for row in found if np.isnan(row.value))
    with pytest.raises(GateError, match=f"mae of {nan} is nan over .* predictions are no numbers"):
        hub.models.promote(nan, "champion", on=found, metric="mae")


def test_few_stretches_of_time_give_no_interval(hub):
    put(hub, units=1, rows=12)
    own = spec(length=4, split=None)
    for shift in (1.0, 0.0):
        learn(hub, spec=own, shift=shift)
    hub.models.promote("air@1", "champion")
    found = hub.models.evaluate(
        ["air@1", "air@2"], hub.feed(own.with_(pipeline=[{"$match": {"t": {"$lt": 90}}}])), "mae", predict=predict
    )
    with pytest.raises(GateError, match=r"the 5 samples lie in 5 stretches of time"):
        hub.models.promote("air@2", "champion", on=found, metric="mae", min_samples=1)
    assert hub.models.promote("air@2", "champion", on=found, metric="mae", min_samples=1, confidence=None)


def test_a_plain_function_passes_only_by_its_value(hub, feed, versions):
    def worst(true, said):
        return np.abs(true - said).max()

    found = evaluate(hub, ["air@1", "air@2"], feed.test, [worst])
    with pytest.raises(GateError, match="it is not known when worst is better"):
        hub.models.promote("air@2", "champion", on=found, metric="worst")
    with pytest.raises(GateError, match="one number and no interval"):
        hub.models.promote("air@2", "champion", on=found, metric="worst", better="lower")
    hub.models.promote("air@2", "champion", on=found, metric="worst", better="lower", confidence=None)
    assert versions


def test_the_first_one_needs_a_value_on_enough_rows_or_beats_what_is_named(hub, feed, versions):
    with pytest.raises(GateError, match="samples"):
        hub.models.promote("air@1", "first", on=versions, metric="mae", min_samples=10**6)
    assert hub.models.promote("air@1", "first", on=versions, metric="mae").aliases == ("champion", "first")
    found = evaluate(hub, ["air@1", "air@2"], feed.test, baselines=["persistence"])
    with pytest.raises(GateError, match="for persistence"):
        hub.models.promote("air@1", "second", over="baseline:persistence", on=found, metric="mae")
    hub.models.promote("air@2", "second", over="baseline:persistence", on=found, metric="mae")
    assert hub.models.history("air@second")[-1].evidence["over"]["candidate"] == "persistence"


def test_the_alias_must_still_mean_what_was_compared(hub, versions, monkeypatch):
    from nemesyst.models import gates

    judged = gates.judged

    def slow(*args, **given):
        told = judged(*args, **given)
        hub.models.promote("air@3", "champion", why="somebody else")
        return told

    monkeypatch.setattr(gates, "judged", slow)
    with pytest.raises(GateError, match="air@2 is not promoted: air@champion means version 3 by now"):
        hub.models.promote("air@2", "champion", on=versions, metric="mae")
    assert hub.models.get("air@champion").number == 3
    assert [move.target for move in hub.models.history("air@champion")] == [1, 3]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"metric": "mae"}, "not on which rows"),
        ({"on": "tel", "metric": "mae"}, "neither a bound feed nor results"),
        ({"on": "results"}, "not by which metric"),
        ({"on": "results", "metric": "mae", "margin": float("nan")}, "margin=nan"),
        ({"on": "results", "metric": "mae", "confidence": 95}, "confidence=95"),
        ({"on": "results", "metric": "mae", "better": "less"}, "better='less'"),
        ({"on": "results", "metric": "mae", "min_samples": 0}, "min_samples=0"),
    ],
)
def test_arguments_of_a_gate_are_checked(hub, versions, given, text):
    asked = {**given, **({"on": versions} if given.get("on") == "results" else {})}
    with pytest.raises(SettingsError, match=text):
        hub.models.promote("air@2", "champion", **asked)


def test_an_unknown_metric_of_a_part_is_a_gate_that_stays_shut(hub, feed, versions):
    with pytest.raises(GateError, match="there is no metric 'mea'"):
        hub.models.promote("air@2", "champion", on=feed.test, metric="mea")
    with pytest.raises(UnknownModelError):
        hub.models.promote("air@9", "champion", on=feed.test, metric="mae")
    assert versions


@pytest.mark.parametrize("by", ["field", "parameter", "function"])
def test_every_entity_whose_candidate_beats_its_champion(hub, by):
    torch = pytest.importorskip("torch")
    put(hub, units=4)
    own = spec(length=4, split=nm.Split(on="t", test_from=600))

    def make():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1))

    def save(entity, bias):
        net = make()
        with torch.no_grad():
            net[1].weight.zero_()
            net[1].bias.fill_(bias)
        hub.models.save(net, f"air[{entity}]", feed=hub.feed(own.with_(scale=None)), build=make)

    for entity, (old, new) in enumerate([(0.0, 20.0), (20.0, 0.0), (None, 20.0), (0.0, None)]):
        for number, bias in enumerate((old, new)):
            if bias is not None:
                save(entity, bias)
                if number == 0:
                    hub.models.promote(f"air[{entity}]@latest", "champion")
    save("gone", 1.0)
    if by == "field":
        on, given = hub.feed(own).test, {"field": "unit"}
    elif by == "parameter":
        on = hub.feed(own.with_(pipeline=[{"$match": {"unit": {"$param": "entity"}}}], params={"entity": 0})).test
        given = {}
    else:
        on, given = (
            (lambda e: hub.feed(own.with_(pipeline=[{"$match": {"unit": int(e)}}])).test if e != "gone" else 3),
            {},
        )
    found = hub.models.promote_better("air", on=on, metric="mae", build=make, min_samples=20, **given)
    assert {each.entity: each.outcome for each in found} == {
        "0": "promoted",
        "1": "kept",
        "2": "promoted",
        "3": "kept",
        "gone": "refused",
    }
    assert str(found).startswith("2 promoted, 2 kept, 1 refused")
    assert [hub.models.get(f"air[{n}]@champion").number for n in range(4)] == [2, 1, 1, 1]
    assert hub.models.history("air[0]@champion")[-1].evidence["samples"] > 20


def test_it_must_be_known_which_rows_are_an_entitys(hub, feed):
    with pytest.raises(SettingsError, match='field="site"'):
        hub.models.promote_better("air", on=feed.test, metric="mae")
    with pytest.raises(UnknownModelError):
        hub.models.promote_better("air", on=feed.test, metric="mae", field="unit")


def test_rows_are_narrowed_in_one_way(hub):
    put(hub)
    asking = spec(pipeline=[{"$match": {"unit": {"$param": "entity"}}}], params={"entity": 0})
    with pytest.raises(SettingsError, match=r"field='unit', and the pipeline .* asks for .*entity.*\n.*field= out"):
        hub.models.promote_better("air", on=hub.feed(asking).test, metric="mae", field="unit")
