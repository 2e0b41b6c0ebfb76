"""Batches as Arrow record batches, and all rows as a DataFrame."""

import datetime as dt

import numpy as np
import pytest
from bson import ObjectId

from nemesyst.errors import FeedError
from nemesyst.frameworks.pandas_dataset import pandas_frame

from .feeds import Memory


@pytest.fixture
def pa():
    return pytest.importorskip("pyarrow", reason="needs the arrow extra")


@pytest.fixture
def pd():
    return pytest.importorskip("pandas", reason="needs the pandas extra")


def column(values):
    return next(Memory([{"c": values}]).to_arrow()).column("c")


def test_numbers_share_memory_with_the_array(pa):
    for values in (np.arange(5), np.zeros((5, 3), np.float32), np.zeros((5, 3, 2), np.uint8)):
        made = column(values)
        flat = getattr(made, "storage", made)
        flat = flat.values if hasattr(flat, "values") else flat
        assert flat.buffers()[1].address == values.ctypes.data


def test_arrays_with_a_shape_have_a_type_that_tells_it(pa):
    assert column(np.zeros((2, 3), np.float32)).type == pa.list_(pa.float32(), 3)
    assert column(np.zeros((2, 3, 4), np.uint8)).type == pa.fixed_shape_tensor(pa.uint8(), (3, 4))


def test_values_arrive(pa):
    image = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    assert column(image).to_numpy_ndarray().tolist() == image.tolist()
    assert column(np.array([[1, 2], [3, 4]])).to_pylist() == [[1, 2], [3, 4]]
    assert column(np.array(["a", "ö"])).to_pylist() == ["a", "ö"]
    assert column(np.array([True, False])).to_pylist() == [True, False]


def test_dates_are_timestamps_in_utc(pa):
    made = column(np.array(["2026-01-02T03:04:05.678"], "M8[ms]"))
    assert made.type == pa.timestamp("ms", "UTC")
    assert made[0].as_py() == dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)


def test_objects_keep_one_type_over_the_epoch(pa):
    parts = [{"c": np.array(["a"], object)}, {"c": np.array([None], object)}]
    assert {batch.schema.field("c").type for batch in Memory(parts).to_arrow()} == {pa.string()}
    identity = ObjectId()
    assert column(np.array([identity], object)).to_pylist() == [str(identity)]


def test_an_object_that_arrow_does_not_know_is_told_with_its_array(pa):
    with pytest.raises(FeedError, match="to_arrow: array 'c'"):
        column(np.array([object()], object))


def test_a_table_of_all_batches(pa):
    feed = Memory([{"x": np.zeros((2, 2), "f4"), "y": np.arange(2)}, {"x": np.ones((1, 2), "f4"), "y": np.arange(1)}])
    assert pa.Table.from_batches(feed.to_arrow()).num_rows == 3


def test_a_frame_has_the_fields_as_columns(pd):
    batch = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], "f4"), "y": np.array([[1.5], [2.5]], "f4")}
    frame = pandas_frame(Memory([batch, batch]), {"x": ["air", "power"], "y": ["air"]})
    assert list(frame.columns) == ["air", "power", "y.air"]
    assert frame["power"].tolist() == [2, 4, 2, 4]
    assert frame["air"].dtype == np.float32


def test_a_frame_without_names_and_with_arrays_dates_and_strings(pd):
    batch = {
        "x": np.zeros((2, 2)),
        "image": np.arange(8).reshape(2, 2, 2),
        "t": np.array(["2026-01-01", "2026-01-02"], "M8[ms]"),
        "site": np.array(["a", "b"]),
    }
    frame = Memory([batch]).to_pandas()
    assert list(frame.columns) == ["x_0", "x_1", "image", "t", "site"]
    assert frame["image"][1].tolist() == [[4, 5], [6, 7]]
    assert str(frame["t"].dt.tz) == "UTC"
    assert frame["site"].tolist() == ["a", "b"]


def test_a_frame_of_no_rows_has_its_columns(pd):
    feed = Memory([{"x": np.zeros((2, 2), "f4"), "y": np.zeros(2, int)}], [])
    feed.epoch = 1
    frame = feed.to_pandas()
    assert list(frame.columns) == ["x_0", "x_1", "y"]
    assert len(frame) == 0
    assert frame["y"].dtype == np.int64


def test_a_wrong_number_of_names_is_refused(pd):
    with pytest.raises(FeedError, match="'x' has 3 columns and 2 names: air, power"):
        pandas_frame(Memory([{"x": np.zeros((1, 3))}]), {"x": ["air", "power"]})
