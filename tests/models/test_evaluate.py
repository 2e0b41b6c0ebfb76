from __future__ import annotations

import math

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, ModelError, SettingsError, UnknownModelError

from . import telemetry
from .telemetry import by_hand, error, learn, predict, put, spec

pytestmark = pytest.mark.slow


@pytest.fixture
def rows(hub):
    return put(hub)


def evaluate(hub, refs, on=None, metrics="mae", **given):
    feed = hub.feed(on or spec())
    return hub.models.evaluate(refs, feed.test, metrics, **{"predict": predict, **given})


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("scale", ["standard", "minmax", None])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_version_is_evaluated_in_the_targets_own_units(hub, scale, horizon):
    own = spec(scale=scale, horizon=horizon)
    version = learn(hub, spec=own)
    row = evaluate(hub, [version.ref], own)[version.ref, "mae"]
    hand = by_hand(hub, version)
    assert row.value == pytest.approx(error(hand), rel=1e-5)
    assert (row.samples, row.of, row.bad) == (len(hand), len(hand), 0)
    assert row.low < row.value < row.high


@pytest.mark.usefixtures("rows")
def test_versions_with_the_same_inputs_but_other_scales_share_a_pass(hub):
    from nemesyst.models.evaluation.candidates import candidates_of
    from nemesyst.models.evaluation.groups import grouped

    versions = [learn(hub, spec=spec(scale=scale)) for scale in ("standard", "minmax", "robust", None)]
    refs = [version.ref for version in versions]
    found = evaluate(hub, refs, spec(scale="minmax"))
    for version in versions:
        assert found[version.ref, "mae"].value == pytest.approx(error(by_hand(hub, version)), rel=1e-4)
    assert len(grouped(candidates_of(hub.models, refs, ["persistence", "mean"]), hub.feed(spec()).test)) == 1


@pytest.mark.usefixtures("rows")
def test_versions_with_windows_of_different_lengths_are_compared_on_the_samples_that_both_have(hub):
    short, long = learn(hub, spec=spec(4)), learn(hub, spec=spec(30, inputs=["air"]))
    found = evaluate(hub, [short.ref, long.ref])
    one, two = by_hand(hub, short), by_hand(hub, long)
    both = one.keys() & two.keys()
    assert len(both) < len(one)
    for version, hand in ((short, one), (long, two)):
        row = found[version.ref, "mae"]
        assert row.value == pytest.approx(error(hand, both), rel=1e-5)
        assert (row.samples, row.of) == (len(both), len(hand))
    assert found[short.ref, "mae"].rows == found[long.ref, "mae"].rows
    assert f"{len(both):,} of {len(one):,}" in str(found)


@pytest.mark.usefixtures("rows")
def test_a_version_is_evaluated_on_the_rows_of_the_feed_that_is_given(hub):
    version = learn(hub, spec=spec())
    on = spec(pipeline=[{"$match": {"t": {"$gte": 600}}}], split=nm.Split(by="unit", test=0.5), scale=None)
    feed = hub.feed(on)
    found = hub.models.evaluate(version.ref, feed.test, "mae", predict=predict)
    hand = by_hand(hub, version, {name: on.as_dict()[name] for name in ("pipeline", "split")})
    assert found.samples == len(hand)
    assert found[version.ref, "mae"].value == pytest.approx(error(hand), rel=1e-5)


def test_results_are_found_again_while_version_and_rows_are_the_same(hub, rows):
    version = learn(hub, spec=spec())
    telemetry.asked = asked = []

    def counting(model, batch):
        telemetry.asked.append(len(batch["x"]))  # what a module holds is no part of the function's fingerprint
        return predict(model, batch)

    first = evaluate(hub, version.ref, predict=counting)
    calls = len(asked)
    again = evaluate(hub, version.ref, predict=counting)
    assert (len(asked), again.rows[0].found, again.rows[0].value) == (calls, True, first.rows[0].value)
    evaluate(hub, version.ref, predict=counting, refresh=True)
    assert len(asked) == 2 * calls
    # rows that are not in the test part: another cutoff, the same samples
    train = next(unit for unit in range(12) if unit not in {key[0] for key in by_hand(hub, version)})
    hub.put("tel", [{"unit": train, "t": 5000, "air": 1.0, "power": 1.0}], key=("unit", "t"))
    assert evaluate(hub, version.ref, predict=counting).rows[0].found
    assert len(asked) == 2 * calls
    # one target of the test part is another now
    test = next(iter(by_hand(hub, version)))[0]
    hub.db["tel"].update_one({"unit": test, "t": 500}, {"$inc": {"air": 1.0}})
    changed = evaluate(hub, version.ref, predict=counting).rows[0]
    assert not changed.found
    assert changed.rows != first.rows[0].rows
    assert rows


@pytest.mark.usefixtures("rows")
def test_results_are_stored_under_version_and_rows(hub):
    version = learn(hub, spec=spec())
    row = evaluate(hub, version.ref, metrics={"near": nm.mae, "square": nm.rmse})[version.ref, "near"]
    stored = hub.state["evaluations"].find_one({"name": "air", "number": 1, "definition": "mae"})
    assert (stored["value"], stored["samples"], stored["rows"]) == (row.value, row.samples, row.rows)
    assert stored["origin"]["part"] == "test"
    assert hub.state["evaluations"].count_documents({}) == 2
    assert len(stored["sums"]) < 10_000


@pytest.mark.usefixtures("rows")
def test_who_may_not_write_evaluates_all_the_same(hub, home, names):
    version = learn(hub, spec=spec())
    hub.db.client.admin.command(
        "createUser", f"reader_{names['state']}", pwd="x", roles=[{"role": "readAnyDatabase", "db": "admin"}]
    )
    from nemesyst.database import embedded

    with embedded.open_embedded(home) as server:
        where = server.uri
    with nm.connect(
        where, username=f"reader_{names['state']}", password="x", authSource="admin", home=home, **names
    ) as reader:
        assert evaluate(reader, version.ref)[version.ref, "mae"].value == pytest.approx(
            error(by_hand(hub, version)), rel=1e-5
        )
    hub.db.client.admin.command("dropUser", f"reader_{names['state']}")


@pytest.mark.usefixtures("rows")
def test_baselines_are_what_their_names_say(hub):
    version = learn(hub, spec=spec())
    found = evaluate(hub, version.ref, baselines=["persistence", "seasonal:56", "mean"])
    truth = {(r["unit"], r["t"]): r["air"] for r in hub.db["tel"].find()}
    keys = [key for key in by_hand(hub, version) if (key[0], key[1] - 55 * 10) in truth]
    said = {
        "persistence": [truth[key] for key in keys],
        "seasonal:56": [truth[key[0], key[1] - 550] for key in keys],
        "mean": [np.mean([hub_row for (unit, _), hub_row in truth.items() if unit not in {k[0] for k in keys}])]
        * len(keys),
    }
    true = [truth[key[0], key[1] + 10] for key in keys]
    assert found.samples == len(keys)
    for name in ("persistence", "seasonal:56"):
        assert found[name, "mae"].value == pytest.approx(np.mean(np.abs(np.subtract(said[name], true))), rel=1e-5)
    assert found["mean", "mae"].value == pytest.approx(np.mean(np.abs(np.subtract(said["mean"], true))), rel=0.02)


@pytest.mark.usefixtures("rows")
def test_persistence_reads_the_targets_past_where_the_inputs_lack_it(hub):
    version = learn(hub, spec=spec(inputs=["power"]))
    found = evaluate(hub, version.ref, baselines=["persistence"])
    own = evaluate(hub, learn(hub, spec=spec()).ref, baselines=["persistence"])
    assert found["persistence", "mae"].value == pytest.approx(own["persistence", "mae"].value)
    assert found.samples == own.samples


@pytest.mark.usefixtures("rows")
def test_functions_of_a_batch_are_candidates_and_baselines(hub):
    def last(batch):
        assert "y" not in batch
        return batch["x"][:, -1, 0]

    found = evaluate(hub, [last], baselines=["persistence"])
    assert found["last", "mae"].value == found["persistence", "mae"].value
    assert found["last", "mae"].kind == "function"


@pytest.mark.usefixtures("rows")
def test_a_plain_function_is_given_everything_at_once(hub):
    shapes = []

    def worst(true, said):
        shapes.append((true.shape, said.shape))
        return np.abs(true - said).max()

    version, other = learn(hub, spec=spec(4)), learn(hub, spec=spec(20))
    found = evaluate(hub, [version.ref, other.ref], metrics={"worst": worst, "mae": nm.mae})
    one, two = by_hand(hub, version), by_hand(hub, other)
    both = one.keys() & two.keys()
    assert shapes == [((len(both),), (len(both),))] * 2
    expected = max(float(np.abs(one[key][0] - one[key][1])[0]) for key in both)
    assert found[version.ref, "worst"].value == pytest.approx(expected, rel=1e-4)
    assert math.isnan(found[version.ref, "worst"].low)


@pytest.mark.usefixtures("rows")
def test_a_prediction_that_is_no_number_is_shown_and_never_wins(hub):
    good, bad = learn(hub, spec=spec(), shift=5.0), learn(hub, spec=spec())

    def sometimes(model, batch):
        said = predict(model, batch)
        return said if model["w"][-1] > 1 else np.where(np.arange(len(said))[:, None] == 3, np.nan, said)

    found = evaluate(hub, [bad.ref, good.ref], metrics=[nm.mae, nm.r2], predict=sometimes)
    assert math.isnan(found[bad.ref, "mae"].value)
    assert found[bad.ref, "mae"].bad > 0
    assert found.best("mae").candidate == good.ref
    assert "are no numbers" in str(found)


def test_rows_are_known_by_their_ids(hub):
    rng = np.random.default_rng(0)
    hub.put("plain", [{"a": float(a), "b": float(a * 2 + 1)} for a in rng.normal(size=500)])
    first = learn(hub, spec=nm.Feed("plain", inputs=["a"], targets=["b"], split=nm.Split(test=0.3), scale="standard"))
    second = learn(hub, spec=nm.Feed("plain", inputs=["a", "b"], targets=["b"], split=nm.Split(test=0.3)), shift=0.5)
    feed = hub.feed("plain", inputs=["a"], targets=["b"], split=nm.Split(test=0.3))
    found = hub.models.evaluate([first.ref, second.ref], feed.test, "mae", predict=predict)
    assert found.samples == len(feed.test.to_numpy()["y"])
    assert found[first.ref, "mae"].value == pytest.approx(0, abs=1e-5)
    assert found[second.ref, "mae"].value == pytest.approx(0.5, abs=1e-4)


def test_rows_out_of_one_document_are_told_apart(hub):
    hub.put("nested", [{"n": n, "items": [{"a": float(n), "b": float(n + k)} for k in range(3)]} for n in range(60)])
    pipeline = [{"$unwind": "$items"}, {"$project": {"a": "$items.a", "b": "$items.b"}}]
    on = nm.Feed("nested", pipeline=pipeline, inputs=["a"], targets=["b"])
    one, two = learn(hub, spec=on), learn(hub, spec=on.with_(inputs=["a", "b"]))
    found = hub.models.evaluate([one.ref, two.ref], hub.feed(on), "mae", predict=predict)
    assert found.samples == 180


def test_filled_cells_of_a_grid_do_not_count(hub):
    hub.put("tel", [{"unit": u, "t": t, "air": float(t), "power": 1.0} for u in range(10) for t in range(0, 400, 20)])
    window = nm.Window(by="unit", on="t", length=4, every=10, max_gap=30)
    on = nm.Feed("tel", inputs=["air"], targets=["air"], window=window)
    found = hub.models.evaluate([lambda batch: batch["x"][:, -1, 0]], hub.feed(on), [nm.mae])
    # a target that was measured follows a cell that holds the value of 20 before
    assert found.rows[0].value == pytest.approx(20.0)
    assert found.samples < sum(len(batch["x"]) for batch in hub.feed(on))


def test_texts_as_classes_are_compared_though_their_codes_differ(hub):
    rows = [
        {"n": n, "a": float(n % 3), "label": ["cool", "heat", "idle"][n % 3], "old": n % 3 != 1} for n in range(300)
    ]
    hub.put("states", rows)
    on = nm.Feed("states", inputs=["a"], targets="label")

    def save(pipeline, scores):
        feed = hub.feed(on.with_(pipeline=pipeline))
        list(feed)
        return hub.models.save({"w": np.array(scores, float)}, "state", feed=feed)

    all_three = save([], np.eye(3))
    two = save([{"$match": {"old": True}}], [[1, 0], [1, 0], [0, 1]])  # never saw heat: its codes are cool, idle
    found = hub.models.evaluate(
        [all_three.ref, two.ref],
        hub.feed(on),
        [nm.accuracy, nm.log_loss],
        predict=lambda model, batch: model["w"][batch["x"][:, 0].astype(int)],
    )
    assert found[all_three.ref, "accuracy"].value == 1.0
    assert found[two.ref, "accuracy"].value == pytest.approx(2 / 3)
    assert found[two.ref, "log_loss"].value > found[all_three.ref, "log_loss"].value


@pytest.mark.usefixtures("rows")
def test_a_table_is_printed_shown_in_a_notebook_and_made_a_frame(hub):
    version = learn(hub, spec=spec())
    found = evaluate(hub, version.ref, metrics=[nm.mae, nm.rmse], baselines=["persistence"])
    lines = str(found).splitlines()
    assert lines[0].split() == ["mae", "rmse", "samples"]
    assert lines[1].startswith("air@1")
    assert lines[-1].startswith("test part of tel")
    assert found._repr_html_().count("<tr>") == 3
    pandas = pytest.importorskip("pandas")
    assert isinstance(found.to_pandas(), pandas.DataFrame)
    with pytest.raises(SettingsError, match="there is no air@1, mea"):
        found["air@1", "mea"]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("refs", "given", "kind", "text"),
    [
        (["air@7"], {}, UnknownModelError, "air"),
        ([], {}, SettingsError, "nothing to compare"),
        ([3], {}, SettingsError, "3 is neither a reference nor a function"),
        (["air@1"], {"metrics": "mea"}, SettingsError, "mse or mae"),
        (["air@1"], {"metrics": {}}, SettingsError, "there are none"),
        (["air@1"], {"metrics": "accuracy"}, ModelError, "accuracy of air@1: .*not classes"),
        (["air@1"], {"baselines": ["last"]}, SettingsError, "no baseline 'last'"),
        (["air@1"], {"baselines": ["seasonal:0"]}, SettingsError, "no baseline"),
        (["air@1", "other@1"], {}, FeedError, "air@1 predicts air of windows .*other@1 predicts power"),
        (["bare@1"], {}, ModelError, "bare@1 was saved without a feed"),
        (["air@1"], {"predict": lambda _, batch: batch["x"]}, ModelError, r"air@1: predictions have the shape"),
        (["air@1"], {"predict": lambda _, batch: batch["z"]}, ModelError, r"air@1 fails on a batch with x .*KeyError"),
        (["air@1"], {"on": spec(length=500)}, None, ""),
    ],
)
def test_what_cannot_be_evaluated_says_why(hub, refs, given, kind, text):
    learn(hub, spec=spec())
    learn(hub, "other", spec=spec(targets=["power"]))
    hub.models.save({"w": np.zeros(1)}, "bare")
    if kind is None:
        assert evaluate(hub, refs, **given).samples  # the feed's own window is not the version's
        return
    with pytest.raises(kind, match=f"(?s){text}"):
        evaluate(hub, refs, **given)


@pytest.mark.usefixtures("rows")
def test_no_rows_in_common_are_an_error(hub):
    version = learn(hub, spec=spec())
    with pytest.raises(FeedError, match=r"no samples that all candidates have in common \(air@1 0\)"):
        evaluate(hub, version.ref, spec(pipeline=[{"$match": {"t": {"$lt": 50}}}]))


@pytest.mark.usefixtures("rows")
def test_a_field_that_the_rows_lack_is_named(hub):
    version = learn(hub, spec=spec())
    hub.put("bare", [{"unit": 1, "t": n, "air": 1.0} for n in range(50)], key=("unit", "t"))
    with pytest.raises(FeedError, match="power"):
        hub.models.evaluate(version.ref, hub.feed(nm.Feed("bare")), "mae", predict=predict)


@pytest.mark.parametrize("framework", ["torch", "sklearn"])
@pytest.mark.usefixtures("rows")
def test_models_of_frameworks_predict_through_their_adapters(hub, framework):
    feed = hub.feed(spec(length=1))
    batch = feed.train.to_numpy()
    if framework == "torch":
        torch = pytest.importorskip("torch")

        def make():
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1))

        version = hub.models.save(make(), "net", feed=feed, build=make)
        found = hub.models.evaluate(version.ref, feed.test, nm.mae, build={"net": make})
    else:
        pytest.importorskip("skops")
        from sklearn.linear_model import Ridge

        plain = hub.feed(nm.Feed("tel", inputs=["air"], targets=["power"]))
        batch = plain.to_numpy()
        version = hub.models.save(Ridge().fit(batch["x"], batch["y"]), "net", feed=plain)
        found = hub.models.evaluate(version.ref, plain, nm.mae)
    assert np.isfinite(found.rows[0].value)
    assert found.samples
