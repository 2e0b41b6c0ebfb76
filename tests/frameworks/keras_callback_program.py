"""Trains by ``fit`` with the callback of a run, whole, stopped early and interrupted: HOME DATABASE STATE."""

import json
import sys

import keras

import nemesyst as nm
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import JobContext, stage_of, work

FEED = nm.Feed("rows", inputs=["a"], targets="y", split=nm.Split(validation=0.3), batch_size=16, shuffle=True, seed=1)


class Keeper:
    def __init__(self, hub, name, resume):
        self.run, self.resume, self.kept, self.logged = name, resume, Checkpoints(hub, name), []

    def log(self, values, step):
        self.logged.append([sorted(values), step])

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last() if self.resume else None


class Ending(keras.callbacks.Callback):
    """Ends the process of the training, as far as the training is concerned."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


def make(rate):
    layers = keras.layers
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4), layers.Dropout(0.5), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def train(hub, name, *, resume=False, ends=-1, rate=0.01, patience=None, epochs=4):
    seen = []

    @nm.learner(FEED, model=name)
    def learn(run):
        model = make(rate)
        run.resume(model=model, optimizer=model.optimizer)
        callback = run.keras_callback({"mae": nm.mae}, keep="best", patience=patience, checkpoint_every=1)
        history = model.fit(
            run.feed.train.to_keras(), epochs=epochs, verbose=0, callbacks=[callback, Ending(ends)],
            initial_epoch=callback.initial_epoch,
        )  # fmt: skip
        seen.extend(history.epoch)
        now = run.validate(model, {"mae": nm.mae})
        return nm.Trained(model, metrics={"mae": now.metrics["mae"], "best": min(means(run))})

    keeper = Keeper(hub, name, resume)
    try:
        metrics = work(hub, stage_of(learn), {}, JobContext(recorder=keeper)).details["versions"][0]["metrics"]
    except KeyboardInterrupt:
        return {}
    finally:
        keeper.kept.close(finished=False)
    weights = [each.tolist() for each in hub.models.load(name, into=make(rate)).get_weights()]
    return {"epochs": seen, "logged": keeper.logged, "weights": weights, **metrics}


def means(run):
    return [point[1] for point in json.loads(run.curves.dumped())["val/mae"]]


home, database, state = sys.argv[1:4]
with nm.connect(home=home, database=database, state=state) as hub:
    hub.put("rows", [{"i": n, "a": n / 100, "y": n / 50} for n in range(100)], key="i")
    whole = train(hub, "whole")
    train(hub, "cut", ends=1)
    told = {
        "whole": whole,
        "resumed": train(hub, "cut", resume=True),
        "stopped": train(hub, "stopped", rate=30.0, patience=1, epochs=30),
        "again": train(hub, "stopped", resume=True, rate=30.0, patience=1, epochs=30),
    }
    print(json.dumps(told))
