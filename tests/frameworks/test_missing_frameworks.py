"""A framework that is not installed: which extra brings it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.core

PROGRAM = """
import sys
for name in ("torch", "tensorflow", "keras", "jax", "pyarrow", "pandas"):
    sys.modules[name] = None  # as if it were not there
import numpy as np
from feeds import Memory
from nemesyst.errors import FeedError
feed = Memory([{"x": np.zeros(1)}])
for method in ("to_torch", "to_tensorflow", "to_keras", "to_jax", "to_arrow", "to_pandas"):
    try:
        getattr(feed, method)()
    except FeedError as error:
        print(error)
assert feed.begun == 0
"""


def test_each_conversion_names_its_extra():
    folder = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=folder)
    assert done.stdout.splitlines() == [
        "to_torch: PyTorch is not installed",
        "  pip install 'nemesyst[torch]'",
        "to_tensorflow: TensorFlow is not installed",
        "  pip install 'nemesyst[tensorflow]'",
        "to_keras: Keras 3 is not installed",
        "  pip install 'nemesyst[keras]'",
        "to_jax: JAX is not installed",
        "  pip install 'nemesyst[jax]'",
        "to_arrow: pyarrow is not installed",
        "  pip install 'nemesyst[arrow]'",
        "to_pandas: pandas is not installed",
        "  pip install 'nemesyst[pandas]'",
    ], done.stderr
