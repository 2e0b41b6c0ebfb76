"""JAX with Flax NNX and Optax."""

from typing import Any

import jax
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from fridges import rows

import nemesyst as nm


def make_net(hidden: int) -> nnx.Module:
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(2, hidden, rngs=rngs), jax.nn.tanh, nnx.Linear(hidden, 1, rngs=rngs))


hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed(
    "fridges", inputs=["outside", "power"], targets=["air"], split=nm.Split(test=0.25), scale="standard", batch_size=64
)
net = make_net(hidden=16)
optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)


@nnx.jit
def step(net: nnx.Module, optimizer: nnx.Optimizer[nnx.Module], x: jax.Array, y: jax.Array) -> Any:
    """One step down the gradient of the squared error."""
    loss, gradient = nnx.value_and_grad(lambda model: ((model(x) - y.reshape(-1, 1)) ** 2).mean())(net)
    optimizer.update(net, gradient)
    return loss


for _ in range(3):
    for batch in feed.train.to_jax():
        loss = step(net, optimizer, batch["x"], batch["y"])
version = hub.models.save(net, "air-nnx", feed=feed, build=make_net, args={"hidden": 16}, metrics={"loss": float(loss)})
hub.models.promote(version.ref, "champion")

elsewhere = nm.connect()  # any node that reaches the database
champion = elsewhere.models.load("air-nnx@champion", build=make_net)  # the record says with which arguments
batch = next(iter(feed.test))
print(version, "loss", round(float(loss), 3), "predicts", np.asarray(champion(batch["x"])).shape)
