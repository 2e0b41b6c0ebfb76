"""model.fit over a feed, on each backend of Keras."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.frameworks.keras_dataset import example

from .feeds import Memory

PROGRAM = Path(__file__).parent / "keras_program.py"
needs_keras = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs the keras extra")


@functools.cache  # the order of the tests is random: once for each backend all the same
def printed(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["torch", "tensorflow", "jax"])
def told(request):
    """What the program printed on a backend."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    assert printed(request.param)["backend"] == request.param
    return printed(request.param)


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("length", ["known", "unknown"])
def test_fit_learns_with_each_of_its_epochs_one_of_the_feed(told, length):
    run = told[length]
    assert run["slope"] == pytest.approx([1, -2], abs=0.05)
    assert (run["epochs"], run["begun"], run["ended"]) == (4, 4, 4)


@needs_keras
@pytest.mark.slow
def test_validation_evaluate_and_predict_read_every_row(told):
    assert told["known"]["loss"] < 0.01
    assert told["known"]["rows"] == 37


@needs_keras
@pytest.mark.slow
def test_rows_without_weight_do_not_count(told):
    assert told["weighted"] == pytest.approx([1, -2], abs=0.05)


@needs_keras
@pytest.mark.slow
def test_a_model_of_several_named_inputs_learns(told):
    assert told["several"] < 0.1


@needs_keras
@pytest.mark.slow
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
