"""Loads each hostile artefact, and three that Keras writes, into a model of Keras; prints what came of each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).parent))

from artefacts import ATTACKS

from nemesyst.errors import CorruptBlobError, MismatchError, UntrustedError
from nemesyst.frameworks import adapter_named

marker = sys.argv[1]
keras.config.enable_unsafe_deserialization()  # the worst case: Keras itself would run what it finds
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model(keras.ops.zeros((1, 2)))
adapter = adapter_named("keras")


def written():
    """What Keras writes for a model whose layer would make the marker."""
    bomb = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x, path=marker: (open(path, "w"), x)[1])])
    with tempfile.TemporaryDirectory() as folder:
        for name in ("m.keras", "m.h5", "m.weights.h5"):
            path = Path(folder) / name
            (bomb.save_weights if "weights" in name else bomb.save)(path)
            yield path.read_bytes()


made = list(written())
Path(marker).unlink(missing_ok=True)  # making the model runs the layer once
for data in [*made, *(make(marker) for make in ATTACKS.values())]:
    try:
        adapter.load(data, model)
        print("loaded")
    except (CorruptBlobError, MismatchError, UntrustedError):
        print("refused")
