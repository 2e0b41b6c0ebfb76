"""Keras: model.fit with one callback of the run. Run it: nemesyst run with_keras_fit.py."""

from collections.abc import Iterator
from typing import Any

import keras
from readings import FEED, rows

import nemesyst as nm


def make_net(hidden: int = 16) -> keras.Model:
    layers = keras.layers
    net = keras.Sequential([keras.Input((2,)), layers.Dense(hidden, activation="tanh"), layers.Dense(1)])
    net.compile(keras.optimizers.Adam(0.01), "mse")
    return net


@nm.wrangler(into="wave", key="i")
def clean(_run: nm.Run) -> Iterator[dict[str, Any]]:
    yield from rows()


@nm.learner(FEED, model="power-keras", build=make_net)
def learn(run: nm.Run, hidden: int = 16, epochs: int = 4) -> nm.Trained:
    net = make_net(hidden)
    run.resume(model=net, optimizer=net.optimizer)  # goes on, if it was started with --resume
    callback = run.keras_callback({"mae": nm.mae}, keep="best", patience=2, checkpoint_every=1)
    net.fit(
        run.feed.train.to_keras(), epochs=epochs, verbose=0, callbacks=[callback], initial_epoch=callback.initial_epoch
    )
    return nm.Trained(net, metrics=run.validate(net, {"mae": nm.mae}).metrics)
