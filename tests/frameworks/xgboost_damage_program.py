"""Loads damaged models of XGBoost and predicts with what loads; prints how many loaded and how many were refused."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import xgboost as xgb

from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_named

warnings.simplefilter("ignore")
xgb.set_config(verbosity=0)
adapter = adapter_named("xgboost")
random = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
x = random.standard_normal((60, 3)).astype(np.float32)
x[:, 0] = random.integers(0, 5, 60)
y = x[:, 1] * 2 + (x[:, 0] == 2)
one = {"n_jobs": 1, "max_depth": 3}
models = [
    xgb.XGBRegressor(n_estimators=3, **one).fit(x, y),
    xgb.XGBClassifier(n_estimators=2, booster="dart", **one).fit(x, (y > 0).astype(int) + (y > 1)),
    xgb.XGBRegressor(n_estimators=2, multi_strategy="multi_output_tree", **one).fit(x, np.stack([y, -y], 1)),
    xgb.XGBRegressor(n_estimators=2, booster="gblinear", n_jobs=1).fit(x, y),
    xgb.XGBRegressor(n_estimators=3, gamma=9, tree_method="exact", **one).fit(x, y),
    xgb.train({"max_cat_to_onehot": 1, "nthread": 1}, xgb.DMatrix(
        x, y, feature_types=["c", "q", "q"], enable_categorical=True), 2),
]  # fmt: skip
whole = [b"".join(adapter.dump(model)) for model in models]
words = [b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\5"]
used = refused = 0
for _ in range(int(sys.argv[1])):
    data = bytearray(whole[random.integers(len(whole))])
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(len(data) - 4))
        kind = random.integers(3)
        if kind == 0:
            data[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[place] = random.integers(256)
        else:
            data[place : place + 4] = words[random.integers(len(words))]
    try:
        model = adapter.load(bytes(data))
        adapter.predict(model, x)
        used += 1
    except ModelError:
        refused += 1
print(used, refused)
