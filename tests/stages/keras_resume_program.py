"""Trains a Keras model by ``fit``, whole and interrupted; prints what came of it: HOME DATABASE STATE."""

import json
import sys

import keras
import numpy as np

import nemesyst as nm
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import JobContext, stage_of, work

FEED = nm.Feed("rows", inputs=["a"], targets="y", batch_size=16, shuffle=True, seed=1)


class Keeper:
    def __init__(self, hub, name, resume):
        self.run, self.resume, self.kept = name, resume, Checkpoints(hub, name)

    def log(self, values, step):
        pass

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last() if self.resume else None


def make():
    layers = keras.layers
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4), layers.Dropout(0.5), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def train(hub, name, *, resume=False, ends=99):
    @nm.learner(FEED, model=name)
    def learn(run):
        model = make()
        found = run.resume(model=model, optimizer=model.optimizer)
        assert (found is not None) == resume
        for epoch in run.epochs(4):
            model.fit(run.feed.train.to_keras(), epochs=1, verbose=0)
            run.checkpoint(step=epoch + 1, model=model, optimizer=model.optimizer)
            if epoch + 1 == ends:
                raise KeyboardInterrupt
        return nm.Trained(model, metrics={"first": 0 if found is None else found.epoch})

    keeper = Keeper(hub, name, resume)
    try:
        work(hub, stage_of(learn), {}, JobContext(recorder=keeper))
    except KeyboardInterrupt:
        return
    finally:
        keeper.kept.close(finished=False)


home, database, state = sys.argv[1:4]
with nm.connect(home=home, database=database, state=state) as hub:
    hub.put("rows", [{"i": n, "a": n / 100, "y": n / 50} for n in range(100)], key="i")
    train(hub, "whole")
    train(hub, "cut", ends=2)
    train(hub, "cut", resume=True)
    one, other = (hub.models.load(name, into=make()).get_weights() for name in ("whole", "cut"))
    far = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    print(json.dumps({"far": far, "first": hub.models.get("cut").metrics["first"]}))
