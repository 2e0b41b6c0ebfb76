"""A learner that uses one core for a while."""

import numpy as np

import nemesyst as nm


@nm.learner(nm.Feed("few", inputs=["x"]), model="busy")
def learn(run: nm.Run, steps: int = 1_000_000) -> nm.Trained:
    rows = sum(len(batch["x"]) for batch in run.feed)
    value = 0
    for number in range(steps):
        value ^= number * rows
    return nm.Trained({"value": np.asarray(float(value % 7))})
