"""Fits a model of Keras to a bound feed of a hub that the argument names; prints what came of it as JSON."""

import json
import sys
import warnings

import keras

import nemesyst as nm

warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=DeprecationWarning)
split = nm.Split(validation=0.2, test=0.2)
spec = nm.Feed(
    "rows", inputs=["air", "power"], targets=["air", "power"], shuffle=True, batch_size=32, scale="standard",
    weight="power", split=split,
)  # fmt: skip
with nm.connect(**json.loads(sys.argv[1])) as hub:
    feed = hub.feed(spec)
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    net.compile(keras.optimizers.Adam(0.05), "mse")
    history = net.fit(feed.train.to_keras(), validation_data=feed.validation.to_keras(), epochs=20, verbose=0).history
    rows = len(net.predict(feed.test.to_keras(), verbose=0))
    loss = net.evaluate(feed.test.to_keras(), verbose=0)
    expected = len(feed.test.to_numpy()["x"])
print(json.dumps([keras.backend.backend(), history["val_loss"][-1], loss, rows, expected, feed.train.epoch]))
