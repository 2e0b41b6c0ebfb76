"""Batches as a tf.data.Dataset."""

import os

import numpy as np
import pytest

from nemesyst.errors import FeedError

from .feeds import Memory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow", reason="needs the tensorflow extra")


def test_a_dataset_tells_dtypes_and_shapes_before_it_is_read():
    feed = Memory([{"x": np.zeros((4, 3, 2), np.uint8), "y": np.zeros(4, np.int64), "t": np.zeros(4, "M8[ms]")}])
    spec = feed.to_tensorflow().element_spec
    assert spec["x"] == tf.TensorSpec((None, 3, 2), tf.uint8)
    assert spec["y"] == tf.TensorSpec((None,), tf.int64)
    assert spec["t"] == tf.TensorSpec((None,), tf.int64)
    assert feed.begun == 0


def test_each_iteration_is_the_next_epoch_with_its_short_batch():
    epochs = [[{"x": np.arange(n, n + 3)}, {"x": np.arange(n + 3, n + 4)}] for n in (0, 10)]
    data = Memory(*epochs).to_tensorflow()
    assert [[batch["x"].numpy().tolist() for batch in data] for _ in range(2)] == [
        [[0, 1, 2], [3]],
        [[10, 11, 12], [13]],
    ]


@pytest.mark.parametrize("values", [np.array(["köln", ""]), np.array(["köln", ""], object)])
def test_strings_become_utf8(values):
    batch = next(iter(Memory([{"site": values}]).to_tensorflow()))
    assert [text.decode() for text in batch["site"].numpy()] == ["köln", ""]


def test_dtypes_arrive_as_they_are():
    arrays = {kind: np.arange(3).astype(kind) for kind in ("float16", "float64", "bool", "uint32", "int8")}
    batch = next(iter(Memory([arrays]).to_tensorflow()))
    assert {name: values.dtype.name for name, values in batch.items()} == {name: name for name in arrays}


def test_an_object_that_is_no_string_is_told_with_its_array():
    data = Memory([{"tag": np.array([{"a": 1}], object)}]).to_tensorflow()
    with pytest.raises(tf.errors.OpError, match="'tag' holds a dict"):
        list(data)


def test_a_dtype_that_tensorflow_has_not_is_refused_before_reading():
    with pytest.raises(FeedError, match="'x' has dtype"):
        Memory([{"x": np.zeros(2, np.longdouble)}]).to_tensorflow()


def test_it_trains_a_model_in_tensorflow_alone():
    rng = np.random.default_rng(0)
    batches = [{"x": (x := rng.normal(size=(32, 2)).astype("f4")), "y": x @ np.float32([[1], [2]])} for _ in range(8)]
    data, weights = Memory(batches).to_tensorflow(), tf.Variable(tf.zeros((2, 1)))
    for _ in range(20):
        for batch in data:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((batch["x"] @ weights - batch["y"]) ** 2)
            weights.assign_sub(0.1 * tape.gradient(loss, weights))
    assert weights.numpy().ravel().tolist() == pytest.approx([1, 2], abs=1e-3)
