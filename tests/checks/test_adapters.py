"""The suite finds what is wrong with an adapter, and ours and a third party's pass it."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nemesyst.checks import CheckError, check_adapter
from nemesyst.errors import CorruptBlobError
from nemesyst.frameworks import adapter_named
from nemesyst.frameworks.arrays import ArraysAdapter

pytestmark = pytest.mark.slow

ARRAYS = {"a": np.arange(3.0), "b": np.zeros((2, 2), np.int16)}


def checked(adapter, **more):
    return check_adapter(adapter, lambda: {name: array.copy() for name, array in ARRAYS.items()}, inputs=None, **more)


@pytest.mark.core
def test_dicts_of_arrays_conform():
    done = checked(adapter_named("arrays"), other=lambda: {"a": np.ones(4), "b": np.ones(1)})
    assert {"comes back", "refuses hostile bytes", "goes on training"} <= set(done)


@pytest.mark.core
def test_nested_dicts_of_arrays_conform():
    check_adapter(adapter_named("arrays"), lambda: {"a": {"b": np.ones(2), "c/d": np.ones(1)}}, inputs=None)


class Forgetful(ArraysAdapter):
    def dump(self, model):
        return super().dump({name: array.astype(np.float32) for name, array in model.items()})


class Loose(ArraysAdapter):
    def load(self, data, into=None, *, trust=()):
        try:
            return super().load(data, into)
        except CorruptBlobError:
            return dict(ARRAYS)


class Unsteady(ArraysAdapter):
    seen = 0

    def dump(self, model):
        self.seen += 1
        return [*super().dump({**model, "n": np.array([self.seen])})]


class Clinging(ArraysAdapter):
    def load(self, data, into=None, *, trust=()):
        return super().load(data)


class Careless(ArraysAdapter):
    def load(self, data, into=None, *, trust=()):
        memoryview(data)[7]
        return super().load(data, into)


@pytest.mark.core
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Forgetful, "adapter arrays: comes back: the leaf a came back with other bits"),
        (Loose, "refuses what is cut: it loads 0 of"),
        (Unsteady, "comes back: leaves|gives the same bytes"),
        (Clinging, "keeps no view of the file: a model that was loaded into another keeps views"),
        (Careless, "refuses what is cut: raised IndexError"),
    ],
)
def test_what_is_wrong_is_named(kind, text):
    with pytest.raises(CheckError, match=text):
        checked(kind())


class Moved(ArraysAdapter):
    roots = ("some.Net",)


@pytest.mark.core
def test_an_adapter_that_does_not_know_its_model_is_named():
    with pytest.raises(CheckError, match="has names: it does not recognise its own model"):
        checked(Moved())


def torch_net(width):
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width), torch.nn.Dropout(0.2), torch.nn.Linear(width, 2)
    return torch.nn.Sequential(*layers)


def torch_steps(net, optimizer):
    import torch

    torch.manual_seed(3)
    net.train()
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(16, 3)).square().mean().backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adafactor", "NAdam", "Rprop"])
def test_pytorch_conforms(kind):
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    extra = {"momentum": 0.9} if kind == "SGD" else {}
    check_adapter(
        adapter_named("torch"),
        functools.partial(torch_net, 8),
        inputs=np.ones((4, 3), np.float32),
        other=functools.partial(torch_net, 9),
        train=torch_steps,
        optimizer=lambda net: getattr(torch.optim, kind)(net.parameters(), **extra),
    )


def nnx_net(width):
    from flax import nnx

    rngs = nnx.Rngs(0)
    layers = nnx.Linear(3, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)
    return nnx.Sequential(*layers, nnx.Linear(width, 2, rngs=rngs))


def nnx_steps(net, optimizer):
    from flax import nnx

    net.train()
    batch = np.random.default_rng(3).normal(size=(16, 3)).astype(np.float32)
    for _ in range(2):
        optimizer.update(net, nnx.grad(lambda model: (model(batch) ** 2).mean())(net))
    return net, optimizer


@pytest.mark.slow
def test_modules_of_flax_conform():
    nnx = pytest.importorskip("flax.nnx", reason="needs the flax extra")
    optax = pytest.importorskip("optax")
    check_adapter(
        adapter_named("jax"),
        functools.partial(nnx_net, 8),
        inputs=np.ones((4, 3), np.float32),
        other=functools.partial(nnx_net, 9),
        needs_target=True,
        train=nnx_steps,
        optimizer=lambda net: nnx.Optimizer(net, optax.adam(0.01), wrt=nnx.Param),
    )


def tree(width):
    import jax

    return {"dense": {"kernel": jax.random.normal(jax.random.key(0), (3, width)), "bias": jax.numpy.zeros(width)}}


@pytest.mark.slow
def test_trees_of_jax_conform():
    jax = pytest.importorskip("jax", reason="needs the jax extra")
    optax = pytest.importorskip("optax")
    adam = optax.adam(0.01)

    def steps(parameters, state):
        gradient = jax.grad(lambda p: (p["dense"]["kernel"] ** 2).sum() + (p["dense"]["bias"] - 1).sum())(parameters)
        updates, state = adam.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state

    check_adapter(
        adapter_named("jax"), functools.partial(tree, 4), inputs=None, other=functools.partial(tree, 5), train=steps,
        optimizer=adam.init,
    )  # fmt: skip


def test_a_third_partys_adapter_conforms(tmp_path):
    """The example of the documentation, found by an entry point of an installed distribution."""
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
    (tmp_path / "edge_adapter.py").write_text(page.split("```python file=edge_adapter.py\n")[1].split("```")[0])
    info = tmp_path / "edgenet-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgenet\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nemesyst.adapters]\nedge = edge_adapter:EdgeAdapter\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import edge_adapter as edge, numpy as np\n"
        "from nemesyst.checks import check_adapter\n"
        "from nemesyst.frameworks import adapter_for\n"
        "adapter = adapter_for(edge.Table([1.0]))\n"
        "make = lambda: edge.Table([1.0, 2.0])\n"
        "print(len(check_adapter(adapter, make, inputs=np.zeros((4, 2)), other=lambda: edge.Table([1.0]))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "14", done.stderr
