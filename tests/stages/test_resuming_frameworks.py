"""Going on from a checkpoint in Keras, by ``fit``, and in JAX, whose arrays never change."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from nemesyst.errors import MismatchError
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import JobContext, Run
from nemesyst.stages.checkpointing import checkpoint, resume

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("keras")]

PROGRAM = Path(__file__).with_name("keras_resume_program.py")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.soak)])
def test_fit_goes_on_at_the_epoch(hub, home, names, keras_hosts, backend):
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the {module} extra")
    told = json.loads(keras_hosts.run(backend, PROGRAM, home, names["database"], names["state"]))
    assert told == {"far": 0.0, "first": 2}


class Keeper:
    def __init__(self, hub):
        self.kept = Checkpoints(hub, "r1")

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last()


@pytest.fixture
def run(hub):
    """Make a run."""
    return lambda: Run(hub, context=JobContext(recorder=Keeper(hub)))


def test_trees_of_jax_come_back_as_new_ones(run):
    jax = pytest.importorskip("jax", reason="needs the jax extra")
    optax = pytest.importorskip("optax", reason="needs the jax extra")
    weights = {"w": jax.numpy.arange(3.0), "layers": [jax.numpy.ones(2)]}
    optimizer = optax.adam(0.1)
    state = optimizer.init(weights)
    _, state = optimizer.update(weights, state, weights)
    first = run()
    checkpoint(first, 3, weights, state, {"key": jax.random.key(7)})
    first.context.recorder.kept.close(finished=False)
    empty = jax.tree.map(jax.numpy.zeros_like, weights)
    found = resume(run(), empty, optimizer.init(empty), {"key": None})
    assert found.model["w"].tolist() == [0, 1, 2]
    assert np.array_equal(found.optimizer[0].mu["w"], state[0].mu["w"])
    assert jax.random.key_data(found.also["key"]).tolist() == jax.random.key_data(jax.random.key(7)).tolist()


def test_two_models_of_pytorch_and_the_one_of_another_shape(run):
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    first = run()
    net, other = torch.nn.Linear(2, 2), torch.nn.Linear(3, 3)
    checkpoint(first, 3, net, None, {"other": other})
    first.context.recorder.kept.close(finished=False)
    again = torch.nn.Linear(2, 2), torch.nn.Linear(3, 3)
    resume(run(), again[0], None, {"other": again[1]})
    assert torch.equal(again[1].weight, other.weight)
    with pytest.raises(MismatchError, match=r"also='other': .*weight: stored F32 \[3, 3\], in the model F32 \[4, 3\]"):
        resume(run(), again[0], None, {"other": torch.nn.Linear(3, 4)})
    with pytest.raises(MismatchError, match="the checkpoint has not the state of an optimiser, and one was given"):
        resume(run(), again[0], torch.optim.Adam(again[0].parameters()), {"other": again[1]})
    with pytest.raises(MismatchError, match="the model is one of arrays, and the checkpoint one of torch"):
        resume(run(), {"w": np.zeros(2)}, None, {})
