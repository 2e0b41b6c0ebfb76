"""The examples, run as a reader would: in an empty folder, with a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nemesyst as nm

FOLDER = Path(__file__).parents[1] / "examples" / "frameworks"

pytestmark = pytest.mark.slow

NEEDED = {
    "with_pytorch": ["torch", "onnx", "onnxruntime"],
    "with_keras": ["keras"],
    "with_jax": ["jax", "flax", "optax"],
    "with_sklearn": ["sklearn", "skops"],
    "with_xgboost": ["xgboost", "sklearn"],
    "with_onnx": ["onnx", "onnxruntime", "skl2onnx"],
}
"""Packages of each example."""

TRAINING = FOLDER.parent / "training"
WAYS = {
    "with_lightning": ["torch", "pytorch_lightning", "power-lightning"],
    "with_accelerate": ["torch", "accelerate", "power-accelerate"],
    "with_keras_fit": ["keras", "power-keras"],
    "with_optuna": ["torch", "optuna", "power-optuna"],
}
"""Packages of each way to train, and the model that it leaves."""


TWICE = """
import os, runpy, sys
sys.path[0] = os.path.dirname(sys.argv[1])
for _ in range(2):
    runpy.run_path(sys.argv[1], run_name="__main__")
    print("again")
"""
"""Runs a script two times; in one process, as importing its framework is most of the time that it takes."""


def done(*words, folder, **environment):
    result = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_example_is_here():
    assert {path.stem for path in FOLDER.glob("with_*.py")} == set(NEEDED)
    assert {path.stem for path in TRAINING.glob("with_*.py")} == set(WAYS)


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "with_keras"])
def test_it_runs_twice(tmp_path, name):
    """The second time it adds versions to those of the first."""
    for package in NEEDED[name]:
        pytest.importorskip(package)
    first, second, _ = done("-c", TWICE, str(FOLDER / f"{name}.py"), folder=tmp_path).split("again\n")
    assert "@1 " in first
    assert "@1 " not in second.splitlines()[0]


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_keras_runs_on_each_backend(tmp_path, backend):
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    assert f"air-keras@1 -> air-keras@2 on {backend}" in done(
        str(FOLDER / "with_keras.py"), folder=tmp_path, KERAS_BACKEND=backend
    )


@pytest.mark.parametrize("name", WAYS)
def test_each_way_to_train_leaves_a_model(tmp_path, name):
    *packages, model = WAYS[name]
    for package in packages:
        pytest.importorskip(package)
    command = [] if name == "with_optuna" else [str(Path(sys.executable).with_name("nemesyst")), "run", "--quiet"]
    with nm.connect(home=tmp_path / ".nemesyst") as hub:
        done(*command, str(TRAINING / f"{name}.py"), folder=tmp_path)
        assert hub.models.get(model).metrics["mae"] < 0.5
