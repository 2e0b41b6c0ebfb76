"""Keras 3, on the backend that KERAS_BACKEND names (tensorflow, torch or jax): trained, stored, gone on training."""

import keras
from fridges import rows

import nemesyst as nm


@nm.architecture("fridge-dense")
def make_net(hidden: int) -> keras.Model:
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hidden, activation="tanh"), keras.layers.Dense(1)])
    net.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    return net


hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed(
    "fridges",
    inputs=["outside", "power"],
    targets=["air"],
    split=nm.Split(test=0.25),
    scale="standard",
    batch_size=64,
    shuffle=True,
)
net = make_net(hidden=16)
history = net.fit(feed.train.to_keras(), epochs=2, verbose=0)
version = hub.models.save(
    net, "air-keras", feed=feed, build=make_net, args={"hidden": 16}, optimizer=net.optimizer,
    metrics={"loss": history.history["loss"][-1]},
)  # fmt: skip
hub.models.promote(version.ref, "champion")

elsewhere = nm.connect()  # any node that reaches the database
again, _ = elsewhere.models.load(  # a model that is loaded with its optimiser goes on training where it was
    "air-keras@champion", into=(other := make_net(hidden=16)), optimizer=other.optimizer
)
again.fit(feed.train.to_keras(), epochs=1, verbose=0)
better = elsewhere.models.save(again, "air-keras", feed=feed, build=make_net, args={"hidden": 16}, parent=version)
loss = again.evaluate(feed.test.to_keras(), verbose=0)
print(version, "->", better, "on", keras.backend.backend(), "loss", round(float(loss), 3))
