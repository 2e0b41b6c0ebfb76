"""model.fit over a feed, on each backend of Keras."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.frameworks.keras_dataset import example

from .feeds import Memory

PROGRAM = Path(__file__).parent / "keras_program.py"


def on_keras(test):
    missing = importlib.util.find_spec("keras") is None
    skipped = pytest.mark.skipif(missing, reason="needs the keras extra")(test)
    return pytest.mark.slow(pytest.mark.xdist_group("keras")(skipped))


@pytest.fixture(params=["torch", "tensorflow", "jax"])
def told(request, keras_hosts):
    """What the program printed on a backend."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    told = json.loads(keras_hosts.once(request.param, PROGRAM))
    assert told["backend"] == request.param
    return told


@on_keras
@pytest.mark.parametrize("length", ["known", "unknown"])
def test_fit_learns_with_each_of_its_epochs_one_of_the_feed(told, length):
    run = told[length]
    assert run["slope"] == pytest.approx([1, -2], abs=0.05)
    assert (run["epochs"], run["begun"], run["ended"]) == (4, 4, 4)


@on_keras
def test_validation_evaluate_and_predict_read_every_row(told):
    assert told["known"]["loss"] < 0.01
    assert told["known"]["rows"] == 37


@on_keras
def test_rows_without_weight_do_not_count(told):
    assert told["weighted"] == pytest.approx([1, -2], abs=0.05)


@on_keras
def test_a_model_of_several_named_inputs_learns(told):
    assert told["several"] < 0.1


@on_keras
def test_epochs_of_one_batch_go_on_too(told):
    assert told["one"] == 3


@pytest.mark.core
def test_a_batch_is_x_then_y_then_weight():
    assert example({"y": 2, "x": 1, "weight": 3}) == (1, 2, 3)
    assert example({"x": 1}) == (1,)
    assert example({"x.seq": 1, "x.static": 2, "y": 3}) == ({"seq": 1, "static": 2}, 3)


@pytest.mark.core
def test_a_feed_without_x_is_refused_with_its_arrays():
    with pytest.raises(FeedError, match="the arrays air, power.*\n.*inputs="):
        Memory([{"air": np.zeros(1), "power": np.zeros(1)}]).to_keras()
