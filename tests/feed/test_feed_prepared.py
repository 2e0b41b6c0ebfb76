"""What is taken from the train part of a bound feed (scale, codes of texts, weights), and map=, on a real server."""

import json
import subprocess
import sys

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError

SPLIT = nm.Split(by="unit", validation=0.2, test=0.3)
ROWS = 900


@pytest.fixture
def rows(hub):
    """Telemetry of 30 units, more than a few chunks; the test part has a mode that no other has."""
    rng = np.random.default_rng(1)
    test_units = [u for u in range(30) if part_of(u) == 2]
    rows = [
        {"unit": i % 30, "t": i, "air": float(rng.normal(3, 2)), "power": float(rng.exponential(100)), "label": int(i % 7 == 0),
         "mode": "off" if i % 30 in test_units and i % 2 else ("warm", "cool", "idle")[i % 3], "n": int(rng.integers(0, 9))}
        for i in range(ROWS)
    ]  # fmt: skip
    hub.put("rows", rows, key=("unit", "t"))
    return rows


def part_of(unit):
    from nemesyst.feed.parts import parts

    return int(parts(SPLIT, np.array([unit]), None, None, 1)[0])


def train(rows):
    return [row for row in rows if part_of(row["unit"]) == 0]


def column(rows, *names):
    return np.array([[row[name] for name in names] for row in rows], np.float64)


def scaled(how, values):
    if how == "standard":
        return values.mean(0), values.std(0)
    if how == "minmax":
        return values.min(0), values.max(0) - values.min(0)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return middle, high - low


@pytest.mark.parametrize("how", ["standard", "minmax", "robust"])
def test_scale_is_numpys_on_the_train_part_on_each_rank(hub, rows, how):
    spec = nm.Feed("rows", inputs=["t", "air", "power"], targets=["power", "air"], scale=how, split=SPLIT, shuffle=True)
    center, width = scaled(how, column(train(rows), "t", "air", "power"))
    wanted = {row["t"]: row for row in rows}
    seen = 0
    for rank in range(2):
        feed = hub.feed(spec, shard=(rank, 2), cache=rank == 0)
        for part in (feed.train, feed.test):
            for batch in part:
                times = np.rint(batch["x"][:, 0] * width[0] + center[0]).astype(int)
                plain = column([wanted[t] for t in times], "t", "air", "power")
                np.testing.assert_allclose(batch["x"], (plain - center) / width, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(batch["y"][:, ::-1], batch["x"][:, 1:], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(feed.unscale(batch["y"]), plain[:, :0:-1], rtol=1e-4, atol=1e-4)
                np.testing.assert_allclose(feed.unscale(batch["x"], "x"), plain, rtol=1e-4, atol=1e-3)
                seen += len(times)
    assert seen == sum(part_of(row["unit"]) != 1 for row in rows)


def test_an_integer_target_stays_as_it_is(hub, rows):
    feed = hub.feed("rows", inputs=["air"], targets="label", scale="standard")
    y = feed.to_numpy()["y"]
    assert (y.dtype, y.sum()) == (np.int64, sum(row["label"] for row in rows))
    assert feed.unscale(y) is y


OTHER = """
import json, sys
import numpy as np, nemesyst as nm
how = json.load(sys.stdin)
hub = nm.connect(home=how["home"], database=how["database"], state=how["state"])
log = []
spec = nm.Feed("rows", inputs=["air", "mode"], targets="power", scale="robust", split=nm.Split(by="unit", validation=.2, test=.3))
feed = hub.feed(spec, cache=False)
before = hub.db.command("serverStatus")["metrics"]["document"]["returned"]
prepared = feed._family.binding.prepared
after = hub.db.command("serverStatus")["metrics"]["document"]["returned"]
batch = next(iter(feed.test))
print(json.dumps([after - before, batch["x"].tolist(), batch["y"].tolist(), prepared.as_dict()]))
"""


def test_another_process_takes_statistics_and_codes_from_the_plan(hub, home, names, rows):
    spec = nm.Feed("rows", inputs=["air", "mode"], targets="power", scale="robust", split=SPLIT)
    feed = hub.feed(spec)
    batch = next(iter(feed.test))
    done = subprocess.run(
        [sys.executable, "-c", OTHER],
        input=json.dumps({"home": str(home), **names}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    read, x, y, prepared = json.loads(done.stdout)
    assert prepared == feed._family.binding.prepared.as_dict()
    assert x == batch["x"].tolist()
    assert y == batch["y"].tolist()
    assert read < 50


def test_texts_have_codes_of_the_train_part_and_unseen_ones_the_next(hub, rows):
    feed = hub.feed("rows", inputs=["t", "mode"], targets="mode", split=SPLIT)
    codes = {"cool": 0, "idle": 1, "warm": 2, "off": 3}
    assert "off" in {row["mode"] for row in rows if part_of(row["unit"]) == 2}
    modes = {row["t"]: codes[row["mode"]] for row in rows}
    for _ in range(2):
        for part in (feed.train, feed.validation, feed.test):
            batch = part.to_numpy()
            assert batch["x"][:, 1].tolist() == [modes[t] for t in batch["x"][:, 0]]
            assert batch["y"].tolist() == [modes[t] for t in batch["x"][:, 0]]
    assert feed.lineage()["categories"]["mode"] == ["cool", "idle", "warm"]


def test_codes_and_scale_stand_side_by_side(hub, rows):
    feed = hub.feed("rows", inputs=["air", "mode"], scale="standard", split=SPLIT)
    air = column(train(rows), "air")
    x = feed.train.to_numpy()["x"]
    assert set(x[:, 1]) == {0, 1, 2}
    np.testing.assert_allclose(sorted(x[:, 0]), sorted(((air - air.mean()) / air.std())[:, 0]), rtol=1e-4, atol=1e-5)


def test_texts_in_windows(hub, rows):
    window = nm.Window(by="unit", on="t", length=3, horizon=2)
    feed = hub.feed("rows", inputs=["t", "mode"], targets="mode", window=window, split=SPLIT, weight="balanced")
    codes = {"cool": 0, "idle": 1, "warm": 2, "off": 3}
    modes = {row["t"]: codes[row["mode"]] for row in rows}
    counts = np.unique([codes[row["mode"]] for row in train(rows)], return_counts=True)
    weights = {int(code): len(train(rows)) / 3 / int(count) for code, count in zip(*counts, strict=True)}
    for part in (feed.train, feed.test):
        batch = part.to_numpy()
        times = batch["x"][..., 0].astype(int)
        np.testing.assert_array_equal(batch["x"][..., 1], np.vectorize(modes.get)(times))
        np.testing.assert_array_equal(batch["y"], np.vectorize(modes.get)(times[:, -1:] + [30, 60]))
        np.testing.assert_allclose(batch["weight"], np.vectorize(lambda y: weights.get(y, 1.0))(batch["y"]), rtol=1e-5)


def test_a_field_weighs(hub, rows):
    batch = hub.feed("rows", inputs="t", targets="label", weight="n", shuffle=True).to_numpy()
    assert batch["weight"].dtype == np.float32
    assert batch["weight"].tolist() == [rows[int(t)]["n"] for t in batch["x"][:, 0]]


def test_classes_are_weighed_by_the_train_part(hub, rows):
    labels = [row["label"] for row in train(rows)]
    wanted = {each: len(labels) / 2 / labels.count(each) for each in (0, 1)}
    for cache in (True, True, False):
        feed = hub.feed("rows", inputs="t", targets="label", weight="balanced", split=SPLIT, cache=cache)
        for part in (feed.train, feed.test):
            batch = part.to_numpy()
            np.testing.assert_allclose(batch["weight"], [wanted[y] for y in batch["y"].tolist()], rtol=1e-6)


def test_a_weight_for_each_class_by_number_or_text(hub, rows):
    batch = hub.feed("rows", inputs="t", targets="label", weight={1: 5.0}).to_numpy()
    assert batch["weight"].tolist() == [5.0 if y else 1.0 for y in batch["y"]]
    batch = hub.feed("rows", inputs="t", targets="mode", weight={"warm": 2, "cool": 0.5}, split=SPLIT).test.to_numpy()
    known = {0: 0.5, 1: 1.0, 2: 2.0, 3: 1.0}
    assert batch["weight"].tolist() == [known[y] for y in batch["y"].tolist()]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"targets": "label", "weight": {7: 2.0}}, FeedError, r"weight\[7\]: the train part has no such class"),
        ({"targets": "mode", "weight": {"colt": 2.0}}, FeedError, r"weight\['colt'\].*\n.*did you mean cool"),
        ({"targets": "air", "weight": "balanced"}, FieldError, "the target has float32 values"),
        ({"targets": "label", "weight": "mode"}, FieldError, "field mode holds texts, not one number"),
        ({"targets": "label", "weight": {"warm": 2.0}}, FeedError, r"weight\['warm'\]"),
        ({"scale": "standard", "split": nm.Split(on="t", test_from=0)}, FeedError, "train part has no rows"),
        ({"targets": "air", "weight": "power", "pipeline": [{"$set": {"power": -1}}]}, FieldError, "field power is -1"),
    ],
)
def test_what_cannot_be_taken_from_the_rows_is_told(hub, rows, arguments, error, said):
    with pytest.raises(error, match=said):
        hub.feed("rows", inputs=["air"], **arguments).to_numpy()


def jitter(batch, rng):
    """Mark each batch with numbers of its own."""
    return {**batch, "noise": rng.normal(size=len(batch["x"]))}


def jolt(batch, rng):
    """Do the same as jitter, otherwise."""
    return {**batch, "noise": 2 * rng.normal(size=len(batch["x"]))}


def plain(batches):
    return [{name: values.tolist() for name, values in batch.items()} for batch in batches]


def test_map_changes_the_train_part_alone_and_alike_on_any_resume_and_rank(hub, rows):
    spec = nm.Feed("rows", inputs="t", map=jitter, shuffle=True, seed=4, batch_size=64, split=SPLIT)
    feed = hub.feed(spec)
    whole, later = plain(feed.train), plain(feed.train)
    assert {tuple(batch) for batch in whole} == {("x", "noise")}
    assert {tuple(batch) for batch in plain(feed.test)} == {("x",)}
    assert [batch["noise"] for batch in later] != [batch["noise"] for batch in whole]
    first, begun = hub.feed(spec, cache=False), []
    for batch in first.train:
        begun.append(batch)
        if len(begun) == 3:
            break
    again = hub.feed(spec)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert plain(begun) + plain(again.train) == whole
    assert plain(again.train) == later


def test_another_map_is_another_feed_over_the_same_plan(hub, rows):
    one, other = (hub.feed("rows", inputs="t", map=function) for function in (jitter, jolt))
    assert one.spec.fingerprint != other.spec.fingerprint
    assert one.state_dict()["plan"] == other.state_dict()["plan"]
    with pytest.raises(FeedError, match="fingerprint"):
        other.load_state_dict(one.state_dict())


def test_a_map_that_fails_is_told_with_its_place(hub, rows):
    def broken(batch):
        return {"x": batch["z"]}

    with pytest.raises(
        FeedError, match=r"map .*broken, batch 0 of epoch 0: KeyError: 'z' \(in .*test_feed_prepared.py, line"
    ):
        list(hub.feed("rows", inputs="t", map=broken))
