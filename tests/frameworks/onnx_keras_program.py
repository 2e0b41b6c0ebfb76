"""Exports models of Keras, on the backend that KERAS_BACKEND names, and compares what they give."""

from __future__ import annotations

import keras
import numpy as np

from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_named
from nemesyst.frameworks.onnx_export import check_onnx

random = np.random.default_rng(0)
sequences = random.standard_normal((4, 5, 3)).astype(np.float32)
static = random.standard_normal((4, 2)).astype(np.float32)
seq, fixed = keras.Input((5, 3), name="seq"), keras.Input((2,), name="static")
layers = keras.layers
two = layers.Dense(1)(layers.Concatenate()([layers.LSTM(4)(seq), fixed]))
models = [
    (keras.Sequential([keras.Input((5, 3)), layers.LSTM(8), layers.Dropout(0.3), layers.Dense(1)]), sequences),
    (keras.Sequential([keras.Input((5, 3)), layers.GRU(8), layers.BatchNormalization(), layers.Dense(2)]), sequences),
    (keras.Model({"seq": seq, "static": fixed}, two), {"seq": sequences, "static": static}),
]
adapter = adapter_named("keras")
for model, inputs in models:
    try:
        data = adapter.to_onnx(model, inputs)
        check_onnx(adapter.predict(model, inputs), data, inputs, 1e-5)
        print("same outputs")
    except ModelError as error:
        print(error.message)
