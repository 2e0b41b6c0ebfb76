"""Telemetry of a few refrigerators, made up: the same rows each time."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def rows(units: int = 4, steps: int = 500) -> Iterator[dict[str, Any]]:
    """One row for each unit and step of 10 s: temperatures outside and inside (degrees C), and power (kW)."""
    random = np.random.default_rng(0)
    for unit in range(units):
        air = 4.0
        for t in range(steps):
            outside = 20 + 5 * np.sin(t / 50) + random.normal(0, 0.1)
            power = float(air > 4.0)
            air += 0.02 * (outside - air) - 0.6 * power + random.normal(0, 0.02)
            yield {"unit": unit, "t": t, "outside": float(outside), "power": power, "air": float(air)}
