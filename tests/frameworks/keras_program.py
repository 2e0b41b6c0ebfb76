"""Trains Keras models from feeds, on the backend that KERAS_BACKEND names; prints what happened as JSON."""

import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from feeds import Memory

warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=DeprecationWarning)
RNG = np.random.default_rng(0)
SLOPE = np.float32([[1], [-2]])


def epoch(mark, batches=8, rows=32, weight=False):
    """Batches of y = x @ SLOPE, of which the last one is shorter; the first x tells the epoch."""
    made = []
    for number in range(batches):
        x = RNG.normal(size=(rows if number < batches - 1 else 5, 2)).astype("f4")
        x[0] = mark / 100, number / 100
        batch = {"x": x, "y": x @ SLOPE}
        if weight:  # rows of no weight have targets that make no sense
            batch["weight"] = (np.arange(len(x)) % 2).astype("f4")
            batch["y"] = np.where(batch["weight"][:, None] == 0, 1e3, batch["y"]).astype("f4")
        made.append(batch)
    return made


def model(keras, seen=None):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, use_bias=False)

        def call(self, x):
            return self.dense(x)

    net = Net() if seen is None else keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    net.compile(keras.optimizers.SGD(0.1), "mse")
    return net


def trained(keras, known):
    if not known:
        warnings.filterwarnings("ignore", "Your input ran out of data")
    feed = Memory(*[epoch(mark) for mark in range(6)], known=known)
    check = Memory(epoch(0, batches=2), epoch(1, batches=2), known=known)
    net = model(keras)
    history = net.fit(feed.to_keras(), validation_data=check.to_keras(), epochs=4, verbose=0)
    loss = net.evaluate(check.to_keras(), verbose=0)
    rows = len(net.predict(check.to_keras(), verbose=0))
    return {
        "epochs": len(history.history["val_loss"]),
        "loss": loss,
        "rows": rows,
        "begun": feed.begun,
        "ended": feed.ended,
        "slope": np.asarray(net.get_weights()[0]).ravel().tolist(),
    }


def weighted(keras):
    net = model(keras, seen=True)
    net.fit(Memory(epoch(0, weight=True)).to_keras(), epochs=10, verbose=0)
    return np.asarray(net.get_weights()[0]).ravel().tolist()


def several(keras):
    parts = [{"x.seq": b["x"][:, None, :], "x.static": b["x"], "y": b["y"]} for b in epoch(0)]
    seq, static = keras.Input((1, 2), name="seq"), keras.Input((2,), name="static")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(seq), static])
    net = keras.Model({"seq": seq, "static": static}, keras.layers.Dense(1)(joined))
    net.compile("sgd", "mse")
    return net.fit(Memory(parts).to_keras(), epochs=15, verbose=0).history["loss"][-1]


def one_batch(keras):
    feed = Memory(*[epoch(mark, batches=1) for mark in range(3)])
    marks, net = [], model(keras)

    class Marks(keras.callbacks.Callback):
        def on_epoch_end(self, number, logs=None):
            marks.append(feed.begun)

    net.fit(feed.to_keras(), epochs=3, verbose=0, callbacks=[Marks()])
    return len(set(marks))


def main():
    import keras

    keras.utils.set_random_seed(0)
    told = {"backend": keras.backend.backend(), "known": trained(keras, known=True), "weighted": weighted(keras)}
    told |= {"several": several(keras), "one": one_batch(keras), "unknown": trained(keras, known=False)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
