"""Rows of a few devices, models of them that need no framework, and predictions by hand to compare with."""

from __future__ import annotations

import numpy as np

import nemesyst as nm


def put(hub, units=12, rows=120, collection="tel"):
    """Devices whose air follows a wave with noise; returns the documents."""
    rng = np.random.default_rng(0)
    made = [
        {"unit": u, "t": 10 * i, "air": float(20 + np.sin(i / 9 + u) + rng.normal() * 0.1), "power": float(i % 5)}
        for u in range(units)
        for i in range(rows)
    ]
    hub.put(collection, made, key=("unit", "t"))
    return made


def spec(length=8, horizon=1, **changes):
    """A feed of windows, a third of the devices kept for the test."""
    window = nm.Window(by="unit", on="t", length=length, horizon=horizon)
    given = {
        "inputs": ["air", "power"],
        "targets": ["air"],
        "window": window,
        "split": nm.Split(test=0.3),
        "scale": "standard",
    }
    return nm.Feed("tel", **{**given, **changes})


def learn(hub, name="air", *, shift=0.0, noise=0.0, **saved):
    """Least squares over a feed's train part, stored as arrays; ``shift`` and ``noise`` make it worse."""
    feed = hub.feed(saved.pop("spec"))
    batch = feed.train.to_numpy()
    x = np.c_[batch["x"].reshape(len(batch["x"]), -1), np.ones(len(batch["x"]))]
    weights = np.linalg.lstsq(x, batch["y"].reshape(len(x), -1), rcond=None)[0]
    weights = weights + np.random.default_rng(1).normal(size=weights.shape) * noise
    weights[-1] += shift
    return hub.models.save({"w": weights}, name, feed=feed, **saved)


def predict(model, batch):
    """What such a model says about a batch."""
    x = np.c_[batch["x"].reshape(len(batch["x"]), -1), np.ones(len(batch["x"]))]
    return x @ model["w"]


def by_hand(hub, version, on=None, part="test"):
    """Truth and prediction of each sample by device and time, in the target's own units."""
    feed = hub.feed(
        {**version.feed, **(on or {}), "window": {**version.feed["window"], "with_time": True}, "shuffle": False}
    )
    model = hub.models.load(version.ref)
    found = {}
    for batch in getattr(feed, part):
        said = feed.unscale(predict(model, batch).reshape(batch["y"].shape))
        true = feed.unscale(batch["y"])
        for device, time, one, two in zip(batch["device"].tolist(), batch["time"].tolist(), true, said, strict=True):
            found[device, time] = one.reshape(-1), two.reshape(-1)
    return found


def error(found, keys=None):
    """Mean absolute error of what :func:`by_hand` gave."""
    return float(np.mean([np.abs(found[key][0] - found[key][1]) for key in keys or found]))
