"""What has no rows gives arrays of length 0, like those of others; and windows make a frame."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError

pytestmark = pytest.mark.core


@pytest.fixture
def rows(hub):
    """Two devices of ten readings."""
    rows = [{"unit": u, "t": t, "air": t / 2, "mode": "ab"[t % 2], "label": t % 3} for u in range(2) for t in range(10)]
    hub.put("rows", rows, key=("unit", "t"))
    return hub


def kinds(batch):
    return {name: (values.dtype, values.shape[1:]) for name, values in batch.items()}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"scale": "standard", "weight": "balanced"},
        {"window": nm.Window(by="unit", on="t", length=3, horizon=2, with_time=True)},
        {"window": nm.Window(by="unit", on="t", length=3, every=2), "weight": "balanced", "scale": "minmax"},
    ],
)
def test_a_rank_without_rows_and_a_part_without_a_split_have_arrays_of_none(rows, more):
    spec = nm.Feed("rows", inputs=["air", "mode"], targets="label", **more)
    whole = rows.feed(spec)
    empty = [rows.feed(spec, shard=(7, 9)).to_numpy(), whole.validation.to_numpy()]
    for batch in empty:
        assert kinds(batch) == kinds(whole.to_numpy())
        assert {len(values) for values in batch.values()} == {0}


def test_windows_longer_than_any_device_have_arrays_of_none(rows):
    window = nm.Window(by="unit", on="t", length=30, horizon=2, with_time=True)
    feed = rows.feed("rows", inputs=["air", "mode"], targets="label", window=window)
    assert {name: values.shape for name, values in feed.to_numpy().items()} == {
        "x": (0, 30, 2), "y": (0, 2), "device": (0,), "time": (0,)
    }  # fmt: skip
    assert feed.layout["x"] == (np.float32, (30, 2))


def doubled(batch):
    return {"x2": 2 * batch["x"]}


def test_a_rank_without_rows_has_the_arrays_that_a_map_gives(rows):
    spec = nm.Feed("rows", inputs=["air", "t"], map=doubled)
    assert {name: values.shape for name, values in rows.feed(spec, shard=(7, 9)).to_numpy().items()} == {"x2": (0, 2)}


def test_a_feed_without_any_rows_is_told(hub):
    hub.db.create_collection("rows")
    with pytest.raises(FeedError, match="<feed of rows, .* has no rows"):
        hub.feed("rows", inputs="air").to_numpy()


def test_a_frame_has_a_row_for_each_window_and_a_column_for_each_field(rows):
    pytest.importorskip("pandas")
    window = nm.Window(by="unit", on="t", length=3, horizon=2, with_time=True)
    frame = rows.feed("rows", inputs=["air", "t"], targets=["air"], window=window).to_pandas()
    assert list(frame) == ["air", "t", "y.air", "device", "time"]
    assert len(frame) == 2 * 6
    first = frame.iloc[0]
    assert (first["t"].tolist(), first["air"].tolist()) == ([0, 1, 2], [0, 0.5, 1])
    assert (first["y.air"].tolist(), first["time"]) == ([1.5, 2], 2)


def test_masks_of_a_grid_are_named_by_their_fields(rows):
    pytest.importorskip("pandas")
    window = nm.Window(by="unit", on="t", length=3, every=2)
    frame = rows.feed("rows", inputs=["air", "mode"], targets="air", window=window).to_pandas()
    assert list(frame) == ["air", "mode", "y.air", "mask.air", "mask.mode", "mask.y.air"]
    assert frame["mask.mode"][0].tolist() == [1, 1, 1]


def test_a_frame_has_what_a_map_gives(rows):
    pytest.importorskip("pandas")
    frame = rows.feed("rows", inputs=["air", "t"], map=doubled).to_pandas()
    assert list(frame) == ["x2_0", "x2_1"]
