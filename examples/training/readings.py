"""Rows of a made-up sensor, the same each time, and the feed that all examples of this folder learn from."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import nemesyst as nm

FEED = nm.Feed(
    "wave",
    inputs=["load", "heat"],
    targets=["power"],
    split=nm.Split(validation=0.2),
    scale="standard",
    batch_size=64,
    shuffle=True,
    seed=7,
)


def rows(count: int = 2000) -> Iterator[dict[str, Any]]:
    """Power (kW) by load (0 to 1) and heat (degrees C)."""
    random = np.random.default_rng(0)
    for i in range(count):
        load, heat = random.uniform(), random.normal(20, 5)
        power = 3 * load + 0.05 * heat * load**2 + random.normal(0, 0.05)
        yield {"i": i, "load": load, "heat": heat, "power": power}
