from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_for, adapter_named, known_adapters


@pytest.mark.core
def test_looking_up_a_dict_imports_no_framework():
    code = (
        "import sys, numpy as np; from nemesyst.frameworks import adapter_for; adapter_for({'a': np.ones(2)});"
        "print({'torch', 'sklearn', 'skops'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_nearest_class_decides():
    torch = pytest.importorskip("torch")
    ridge = pytest.importorskip("sklearn.linear_model").Ridge()
    assert [adapter_for(model).name for model in (torch.nn.Linear(1, 1), ridge, {})] == ["torch", "sklearn", "arrays"]


@pytest.mark.core
@pytest.mark.parametrize("model", [object(), [np.ones(2)], "air", None, int])
def test_another_type_is_refused_by_name_with_the_known_frameworks(model):
    with pytest.raises(ModelError, match=rf"{type(model).__name__} is not a model.*\n.*torch, sklearn, arrays"):
        adapter_for(model)


@pytest.mark.core
def test_an_unknown_adapter_is_named_with_the_nearest():
    with pytest.raises(ModelError, match="'torhc': did you mean torch"):
        adapter_named("torhc")


@pytest.fixture
def third_party(tmp_path):
    """A package with an adapter of its own, installed as far as Python looks."""
    (tmp_path / "edgenet.py").write_text(
        "from nemesyst.frameworks import Adapter\n"
        "class Net(dict): pass\n"
        "class EdgeAdapter(Adapter):\n"
        "    name, roots, needs_target = 'edge', ('edgenet.Net',), False\n"
        "    def version(self): return '1'\n"
        "    def dump(self, model): return [repr(sorted(model.items())).encode()]\n"
        "    def load(self, data, into=None, *, trust=()): return Net(eval_free=bytes(data))\n"
        "    def predict(self, model, inputs): return inputs\n"
    )
    info = tmp_path / "edgenet-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgenet\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[nemesyst.adapters]\nedge = edgenet:EdgeAdapter\nbroken = nowhere:Adapter\n"
    )
    return tmp_path


@pytest.mark.core
def test_a_third_partys_adapter_is_found_and_wins_with_the_nearer_class(third_party):
    code = "import edgenet; from nemesyst.frameworks import adapter_for; print(adapter_for(edgenet.Net()).name, adapter_for({}).name)"
    assert _run(code, third_party) == "edge arrays"


@pytest.mark.core
def test_a_third_partys_broken_adapter_is_named_when_it_is_asked_for(third_party):
    code = (
        "from nemesyst.frameworks import adapter_named\n"
        "try: adapter_named('broken')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert "ModelError the adapter 'broken' (nowhere:Adapter) cannot be imported" in _run(code, third_party)


def _run(code, folder):
    environment = {"PYTHONPATH": str(folder), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    return (done.stdout + done.stderr).strip()


@pytest.mark.core
def test_the_built_in_ones_come_first():
    assert known_adapters()[:3] == ["torch", "sklearn", "arrays"]
