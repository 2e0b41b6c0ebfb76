"""Batches as JAX arrays."""

import numpy as np
import pytest

from nemesyst.errors import FeedError

from .feeds import Memory

jax = pytest.importorskip("jax", reason="needs the jax extra")


def aligned(rows, dtype=np.float32, bytes_=64):
    room = np.zeros(rows * np.dtype(dtype).itemsize + bytes_, np.uint8)
    begin = -room.ctypes.data % bytes_
    return room[begin : begin + rows * np.dtype(dtype).itemsize].view(dtype)


def first(device=None, **arrays):
    return next(Memory([arrays]).to_jax(device))


def test_an_aligned_array_is_not_copied():
    values = aligned(1000)
    assert first(x=values)["x"].unsafe_buffer_pointer() == values.ctypes.data


def test_values_and_shapes_arrive():
    batch = first(x=np.arange(6, dtype="f4").reshape(3, 2), y=np.array([1, 2, 3]), ok=np.array([True, False, True]))
    assert batch["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert batch["y"].tolist() == [1, 2, 3]
    assert batch["ok"].dtype == bool


def test_dates_and_strings_stay_numpy():
    batch = first(t=np.zeros(1, "M8[ms]"), site=np.array(["a"]))
    assert {type(values) for values in batch.values()} == {np.ndarray}


def test_an_integer_that_jax_would_cut_is_refused():
    with pytest.raises(FeedError, match="'y' holds int64 values up to 3000000000.*\n.*jax_enable_x64"):
        first(y=np.array([3_000_000_000]))


def test_with_x64_it_is_kept():
    with jax.enable_x64(True):  # noqa: FBT003 - JAX's own
        assert first(y=np.array([3_000_000_000]))["y"].tolist() == [3_000_000_000]


def test_a_device_by_name():
    assert first("cpu", x=np.zeros(2))["x"].device.platform == "cpu"
    with pytest.raises(FeedError, match="to_jax\\(device='tpu'\\)"):
        first("tpu", x=np.zeros(2))


def test_each_call_is_the_next_epoch():
    feed = Memory([{"x": np.array([1])}], [{"x": np.array([2])}])
    assert [next(feed.to_jax())["x"].item() for _ in range(2)] == [1, 2]
