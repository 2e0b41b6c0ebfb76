"""Seeds of the random numbers that a process draws."""

from __future__ import annotations

import random
import sys

import numpy as np


def seed_all(seed: int) -> list[str]:
    """Seed Python, NumPy, and the frameworks that the process uses already; imports none.

    Returns:
        Names of what was seeded.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what is to be seeded
    seeded = ["python", "numpy"]
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)
        seeded.append("torch")
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        tensorflow.random.set_seed(seed)
        seeded.append("tensorflow")
    if (keras := sys.modules.get("keras")) is not None:
        keras.utils.set_random_seed(seed)  # Keras's own generator is global, too
        seeded.append("keras")
    return seeded
