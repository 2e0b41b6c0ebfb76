"""Batches of a bound feed in frameworks: the same rows, in the same order, as in a loop over the feed."""

import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import nemesyst as nm

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def rows(hub):
    """Telemetry of 6 units in several chunks."""
    rows = [
        {"unit": i % 6, "t": i, "air": i / 4, "power": i % 9, "label": i % 3, "mode": ("on", "off")[i % 2], "day": START + timedelta(hours=i)}
        for i in range(600)
    ]  # fmt: skip
    hub.put("rows", rows, key=("unit", "t"))
    return hub


SPEC = nm.Feed(
    "rows",
    inputs=["t", "air"],
    targets="label",
    shuffle=True,
    seed=2,
    batch_size=32,
    split=nm.Split(test=0.2),
    scale="minmax",
)
WINDOW = nm.Window(by="unit", on="t", length=5, horizon=2)


def plain(batches):
    return [{name: np.asarray(values).tolist() for name, values in batch.items()} for batch in batches]


def test_tensors_are_the_batches(rows):
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    feed, same = rows.feed(SPEC), rows.feed(SPEC, cache=False)
    tensors = list(feed.train.to_torch())
    assert tensors[0]["x"].dtype == torch.float32
    assert tensors[0]["y"].dtype == torch.int64
    assert plain(tensors) == plain(same.train)


PROGRAM = """
import json, sys
import nemesyst as nm
def main():
    import torch
    from torch.utils.data import DataLoader
    how = json.load(sys.stdin)
    hub = nm.connect(home=how["home"], database=how["database"], state=how["state"])
    window = nm.Window(by="unit", on="t", length=5, horizon=2) if how["window"] else None
    spec = nm.Feed("rows", inputs=["t", "air"], targets="label", shuffle=True, seed=2, batch_size=32, window=window,
                   map=noisy if how["map"] else None, split=None if window else nm.Split(test=0.2))
    feed = hub.feed(spec, cache=how["cache"])
    told = [batch["x"].tolist() for batch in feed.train], [batch["x"].tolist() for batch in feed.train]
    again = hub.feed(spec, cache=how["cache"])
    loader = DataLoader(again.train.to_torch(), batch_size=None, num_workers=2, multiprocessing_context=how["start"],
                        persistent_workers=how["persistent"])
    read = [batch["x"].tolist() for batch in loader], [batch["x"].tolist() for batch in loader]
    print(json.dumps([read == told, len(told[0]), told[0] != told[1]]))
def noisy(batch, rng):
    return {**batch, "x": batch["x"] + rng.normal(size=batch["x"].shape).astype("f4")}
if __name__ == "__main__":
    main()
"""


def told(tmp_path, home, names, **how):
    (tmp_path / "program.py").write_text(PROGRAM)
    given = json.dumps(
        {"home": str(home), **names, "map": False, "window": False, "cache": True, "persistent": False, **how}
    )
    done = subprocess.run(
        [sys.executable, "program.py"], input=given, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_forked_workers_give_each_epoch_in_order(rows, home, names, tmp_path):
    pytest.importorskip("torch", reason="needs the torch extra")
    assert told(tmp_path, home, names, start="fork", map=True) == [True, 15, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"start": "fork", "window": True, "cache": False, "persistent": True},
        {"start": "spawn", "map": True, "cache": False},
        {"start": "spawn", "window": True, "persistent": True},
    ],
)
def test_workers_give_each_epoch_in_order(rows, home, names, tmp_path, how):
    pytest.importorskip("torch", reason="needs the torch extra")
    same, _, differs = told(tmp_path, home, names, **how)
    assert (same, differs) == (True, True)


@pytest.mark.slow
@pytest.mark.xdist_group("keras")
@pytest.mark.parametrize("backend", ["torch", "tensorflow", "jax"])
def test_keras_fits_evaluates_and_predicts(rows, home, names, backend, keras_hosts):
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    program = Path(__file__).parent / "keras_feed_program.py"
    printed = keras_hosts.run(backend, program, json.dumps({"home": str(home), **names}))
    name, loss, evaluated, predicted, count, epoch = json.loads(printed.splitlines()[-1])
    assert (name, predicted, epoch) == (backend, count, 20)
    assert loss < 0.5
    assert evaluated < 0.5


@pytest.mark.slow
def test_a_tensorflow_dataset_gives_each_epoch(rows):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow")
    feed, same = rows.feed(SPEC), rows.feed(SPEC)
    dataset = feed.train.to_tensorflow()
    for _ in range(2):
        assert plain(dataset.as_numpy_iterator()) == plain(same.train)


def test_jax_arrays_are_the_batches(rows):
    pytest.importorskip("jax", reason="needs the jax extra")
    feed, same = rows.feed(SPEC), rows.feed(SPEC)
    assert plain(feed.train.to_jax()) == plain(same.train)


def test_arrow_batches_are_the_rows(rows):
    pa = pytest.importorskip("pyarrow", reason="needs the arrow extra")
    table = pa.Table.from_batches(list(rows.feed("rows", pipeline=[{"$unset": "_id"}]).to_arrow()))
    assert set(table.column_names) == {"unit", "t", "air", "power", "label", "mode", "day"}
    at = {t: i for i, t in enumerate(table["t"].to_pylist())}
    assert len(at) == 600
    assert [table["mode"][at[t]].as_py() for t in (0, 1)] == ["on", "off"]
    assert table["day"][at[5]].as_py().replace(tzinfo=UTC) == START + timedelta(hours=5)
    windows = pa.Table.from_batches(
        list(rows.feed("rows", inputs=["t", "air"], targets="label", window=WINDOW).to_arrow())
    )
    assert len(windows) == 6 * 94


def test_a_frame_has_a_column_for_each_field(rows):
    pytest.importorskip("pandas", reason="needs the pandas extra")
    spec = nm.Feed("rows", inputs=["t", "air", "mode"], targets="label", split=nm.Split(by="unit", test=0.5))
    feed = rows.feed(spec)
    frames = [part.to_pandas() for part in (feed.train, feed.test)]
    assert sum(map(len, frames)) == 600
    for frame in frames:
        assert frame.columns.tolist() == ["t", "air", "mode", "label"]
        assert (frame["air"] * 4 == frame["t"]).all()
        assert (frame["label"] == frame["t"] % 3).all()
    whole = rows.feed("rows", pipeline=[{"$unset": "_id"}]).to_pandas()
    assert whole.set_index("t").loc[5, "day"] == START + timedelta(hours=5)
    assert set(whole["mode"]) == {"on", "off"}


def test_a_classifier_of_sklearn_learns_from_it(rows):
    sklearn = pytest.importorskip("sklearn.tree", reason="needs the sklearn extra")
    batch = rows.feed("rows", inputs=["t", "power"], targets="label", scale="standard").to_numpy()
    assert sklearn.DecisionTreeClassifier().fit(batch["x"], batch["y"]).score(batch["x"], batch["y"]) > 0.9


def test_an_empty_part_is_empty_everywhere(rows):
    feed = rows.feed("rows", inputs="air", split=nm.Split(on="t", test_from=10_000))
    assert len(feed.test) == 0
    if importlib.util.find_spec("pandas"):
        assert len(feed.test.to_pandas()) == 0
    if importlib.util.find_spec("torch"):
        assert list(feed.test.to_torch()) == []
    if importlib.util.find_spec("pyarrow"):
        assert list(feed.test.to_arrow()) == []
