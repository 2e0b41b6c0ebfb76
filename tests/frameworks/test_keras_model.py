"""Keras models stored and restored, on each backend."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from nemesyst.frameworks.keras_names import stable_names

PROGRAM = Path(__file__).parent / "keras_models_program.py"
BACKENDS = ["torch", "tensorflow", "jax"]


def on_keras(test):
    """A backend compiles each model, on a busy machine for minutes."""
    return pytest.mark.slow(pytest.mark.xdist_group("keras")(pytest.mark.timeout(900)(test)))


def needs(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the {module} extra")


@pytest.fixture(params=BACKENDS)
def told(request, keras_hosts):
    """What the program told about a backend."""
    needs("keras", request.param)
    return json.loads(keras_hosts.once(request.param, PROGRAM, "facts"))


@on_keras
@pytest.mark.parametrize(
    "kind",
    [
        "layered",
        *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("recurrent", "nested", "mixed", "subclassed")),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kind_of_model_conforms(backend, kind, keras_hosts):
    needs("keras", backend)
    assert json.loads(keras_hosts.run(backend, PROGRAM, kind)) == {kind: 14}


@on_keras
def test_names_do_not_depend_on_what_was_built_before(told):
    assert told["names"] == [
        "dense/kernel", "dense/bias", "batch_normalization/gamma", "batch_normalization/beta",
        "batch_normalization/moving_mean", "batch_normalization/moving_variance", "mine_3/kernel", "mine_3/bias",
        "dense_1/kernel", "dense_1/bias",
    ]  # fmt: skip
    assert told["frozen"]
    assert told["adapter"] == "keras"


@on_keras
def test_dtypes_are_those_of_the_policy(told):
    assert told["dtypes"] == ["bfloat16", "bfloat16", "float32", "float32"]


@on_keras
def test_errors_name_the_part_and_what_to_do(told):
    assert "has not been built" in told["unbuilt"]
    assert "Begin it with keras.Input" in told["unbuilt"]
    assert "dense/kernel: stored F32 [4, 3], in the model F32 [4, 4]" in told["mismatch"]
    assert "returns a list" in told["two"]
    assert "only in the model: yours/kernel" in told["renamed"]
    assert "only stored: mine/bias F32 [2], mine/kernel F32 [4, 2]" in told["renamed"]


@on_keras
def test_one_backend_loads_what_another_stored(tmp_path, keras_hosts):
    needs("keras", "torch", "jax")
    told = [json.loads(keras_hosts.run(backend, PROGRAM, tmp_path)) for backend in ("torch", "jax", "torch")]
    assert len(list(tmp_path.glob("*.weights"))) == 2
    assert max(told) < 1e-5


@pytest.mark.core
def test_names_that_keras_gave_are_numbered_among_neighbours():
    paths = ["net_4/dense_9/kernel", "net_4/dense_7/kernel", "net_4/block/dense_3/kernel", "net_4/w"]
    assert stable_names(paths, "net_4", {"dense", "net"}) == [
        "dense/kernel", "dense_1/kernel", "block/dense/kernel", "w",
    ]  # fmt: skip


@pytest.mark.core
def test_names_that_the_user_gave_stay():
    paths = ["mine_3/kernel", "mine_7/kernel", "forward_lstm_2/lstm_cell_5/kernel"]
    assert stable_names(paths, "net", {"lstm", "lstm_cell"}) == [
        "mine_3/kernel", "mine_7/kernel", "forward_lstm/lstm_cell/kernel",
    ]  # fmt: skip


@pytest.mark.core
def test_layers_of_one_name_are_told_apart_by_their_order():
    assert stable_names(["mine/kernel", "mine/kernel"], "net", set()) == ["mine/kernel", "mine/kernel#2"]
