"""Stores and restores Keras models; prints what happened as JSON.

The argument: ``facts``, names of models that shall conform, or a folder through which backends exchange models.
"""

import functools
import json
import sys
import warnings
from pathlib import Path

import numpy as np

from nemesyst.checks import check_adapter
from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_for, adapter_named

ADAPTER = adapter_named("keras")
warnings.simplefilter("ignore")


def layered(keras, width=3):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width),
            layers.BatchNormalization(),
            layers.Dense(width, name="mine_3"),
            layers.Dense(2),
        ]
    )


def recurrent(keras, width=3):
    given = keras.Input((5, 4))
    return keras.Model(given, keras.layers.Dense(1)(keras.layers.Bidirectional(keras.layers.LSTM(width))(given)))


def nested(keras, width=3):
    given = keras.Input((4,))
    return keras.Model(given, keras.layers.Add()([layered(keras, width)(given), layered(keras, width)(given)]))


def mixed(keras, width=3):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(width, dtype="bfloat16"), layers.Dense(2, dtype="mixed_bfloat16")]
    )


def subclassed(keras, width=3):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [keras.layers.Dense(width), keras.layers.Dense(2)]
            self.dropout = keras.layers.Dropout(0.5)
            self.bias = self.add_weight(shape=(2,), name="bias")

        def call(self, x, training=False):
            return self.parts[1](self.dropout(self.parts[0](x), training=training)) + self.bias

    net = Net()
    net(np.zeros((1, 4), "f4"))
    return net


def several(keras, width=3):
    seq, static = keras.Input((4,), name="seq"), keras.Input((2,), name="static")
    joined = keras.layers.Concatenate()([keras.layers.Dense(width)(seq), static])
    return keras.Model([seq, static], keras.layers.Dense(1)(joined))


RNG = np.random.default_rng(0)
INPUTS = {
    "recurrent": RNG.normal(size=(3, 5, 4)).astype("f4"),
    "several": {"seq": RNG.normal(size=(3, 4)).astype("f4"), "static": RNG.normal(size=(3, 2)).astype("f4")},
}
PLAIN = RNG.normal(size=(3, 4)).astype("f4")


def steps(inputs, net, optimizer):
    """Three steps with a given optimiser, which Keras takes from the compiled model."""
    if getattr(net, "optimizer", None) is not optimizer:
        net.compile(optimizer, "mse", metrics=["mae"])
    outputs = np.zeros((3, *net(inputs).shape[1:]), "f4")
    net.fit(inputs, outputs, epochs=3, verbose=0, shuffle=False, batch_size=3)
    return net, net.optimizer


def conformed(keras, make):
    inputs = INPUTS.get(make.__name__, PLAIN)
    # dropout draws other numbers in another model; Keras' Adam on torch leaves weights of mixed dtypes as they are
    trained = make in (layered, recurrent, nested)
    return len(
        check_adapter(
            ADAPTER, functools.partial(make, keras), inputs=inputs, other=functools.partial(make, keras, 4),
            train=functools.partial(steps, inputs) if trained else None, optimizer=lambda net: keras.optimizers.Adam(0.01),
        )
    )  # fmt: skip


def refused(work):
    try:
        work()
    except ModelError as error:
        return str(error)
    return None


def kept_dtypes(keras):
    return [str(array.dtype) for _, array in ADAPTER.weights(mixed(keras))]


def compiled_and_frozen(keras):
    """Names and order of leaves, whatever was compiled, trained or frozen in between."""
    net, other = layered(keras), layered(keras)
    steps(PLAIN, net, "adam")
    net.layers[0].trainable = False
    names = [[name for name, _ in ADAPTER.weights(each)] for each in (net, other)]
    return names[0] == names[1]


def crossed(keras, folder):
    """Load what other backends stored, and store for them; the greatest difference of predictions."""
    inputs, worst = np.linspace(-1, 1, 12, dtype="f4").reshape(3, 4), 0.0
    net = subclassed(keras)
    for path in sorted(folder.glob("*.weights")):
        told = np.load(path.with_suffix(".npy"))
        worst = max(worst, float(np.abs(ADAPTER.predict(ADAPTER.load(path.read_bytes(), net), inputs) - told).max()))
    path = folder / f"{keras.backend.backend()}.weights"
    path.write_bytes(b"".join(ADAPTER.dump(net)))
    np.save(path.with_suffix(".npy"), ADAPTER.predict(net, inputs))
    return worst


KINDS = (layered, recurrent, nested, mixed, subclassed, several)


def facts(keras):
    return {
        "adapter": adapter_for(layered(keras)).name,
        "names": [name for name, _ in ADAPTER.weights(layered(keras))],
        "dtypes": kept_dtypes(keras),
        "frozen": compiled_and_frozen(keras),
        "version": ADAPTER.version(),
        "unbuilt": refused(lambda: [*ADAPTER.dump(keras.Sequential([keras.layers.Dense(2)]))]),
        "mismatch": refused(lambda: ADAPTER.load(b"".join(ADAPTER.dump(layered(keras))), layered(keras, 4))),
        "two": refused(lambda: ADAPTER.predict(two_outputs(keras), np.ones((1, 4), "f4"))),
        "renamed": refused(lambda: ADAPTER.load(b"".join(ADAPTER.dump(named(keras, "mine"))), named(keras, "yours"))),
    }


def main():
    import keras

    keras.utils.set_random_seed(0)
    what = sys.argv[1]
    if what == "facts":
        told = facts(keras)
    elif kinds := [make for make in KINDS if make.__name__ in what.split(",")]:
        told = {make.__name__: conformed(keras, make) for make in kinds}
    else:
        told = crossed(keras, Path(what))
    print(json.dumps(told))


def two_outputs(keras):
    given = keras.Input((4,))
    return keras.Model(given, [keras.layers.Dense(1)(given), keras.layers.Dense(1)(given)])


def named(keras, name):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name=name)])


if __name__ == "__main__":
    main()
