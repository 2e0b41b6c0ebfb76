"""The example of each framework, run as a reader would: in an empty folder, with a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def done(name, folder, **environment):
    result = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_example_is_here():
    assert {path.stem for path in FOLDER.glob("with_*.py")} == set(NEEDED)


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "with_keras"])
def test_it_runs_twice(tmp_path, name):
    """The second time it adds versions to those of the first."""
    for package in NEEDED[name]:
        pytest.importorskip(package)
    assert "@1 " in done(name, tmp_path)
    assert "@1 " not in done(name, tmp_path).splitlines()[0]


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_keras_runs_on_each_backend(tmp_path, backend):
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    assert f"air-keras@1 -> air-keras@2 on {backend}" in done("with_keras", tmp_path, KERAS_BACKEND=backend)
