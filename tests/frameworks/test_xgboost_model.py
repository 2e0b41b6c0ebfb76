"""XGBoost models: kept as they are, checked before XGBoost's compiled reader sees them."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

xgb = pytest.importorskip("xgboost", reason="needs the xgboost extra")
pytest.importorskip("sklearn", reason="the estimators of XGBoost are scikit-learn's")

from nemesyst.checks import check_adapter
from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import adapter_for, adapter_named

ADAPTER = adapter_named("xgboost")
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((120, 3)).astype(np.float32)
X[:, 0] = RANDOM.integers(0, 5, 120)
Y = X[:, 1] * 2 + (X[:, 0] == 2)
X[::7, 2] = np.nan
CLASSES = (Y > 0).astype(int) + (Y > 1)
CATEGORIES = {"feature_types": ["c", "q", "q"], "feature_names": ["kind", "b", "c"], "enable_categorical": True}


def fitted(kind, target, **params):
    return getattr(xgb, kind)(n_estimators=4, max_depth=3, n_jobs=1, **params).fit(X, target)


def booster():
    return xgb.train({"max_depth": 3, "nthread": 1}, xgb.DMatrix(X, Y), 4)


MODELS = {
    "regressor": lambda: fitted("XGBRegressor", Y),
    "classifier": lambda: fitted("XGBClassifier", CLASSES),
    "two classes": lambda: fitted("XGBClassifier", CLASSES > 0),
    "ranker": lambda: xgb.XGBRanker(n_estimators=3).fit(X, CLASSES, qid=np.arange(120) // 20),
    "forest": lambda: xgb.XGBRFRegressor(n_estimators=4).fit(X, Y),
    "forest of classes": lambda: xgb.XGBRFClassifier(n_estimators=4).fit(X, CLASSES),
    "dart": lambda: fitted("XGBRegressor", Y, booster="dart", rate_drop=0.5),
    "linear": lambda: xgb.XGBRegressor(n_estimators=4, booster="gblinear").fit(np.nan_to_num(X), Y),
    "several targets": lambda: fitted("XGBRegressor", np.stack([Y, -Y], 1)),
    "trees of vectors": lambda: fitted("XGBRegressor", np.stack([Y, -Y], 1), multi_strategy="multi_output_tree"),
    "pruned": lambda: fitted("XGBRegressor", Y, gamma=9, tree_method="exact"),
    "quantiles": lambda: fitted("XGBRegressor", Y, objective="reg:quantileerror", quantile_alpha=[0.1, 0.9]),
    "another missing value": lambda: fitted("XGBRegressor", Y, missing=2.0),
    "another base score": lambda: fitted("XGBRegressor", Y, base_score=0.25),
    "stopped early": lambda: xgb.XGBRegressor(n_estimators=60, early_stopping_rounds=2).fit(
        X[:60], Y[:60], eval_set=[(X[60:], Y[60:])], verbose=False
    ),
    "booster": booster,
    "categorical booster": lambda: xgb.train({"max_cat_to_onehot": 1}, xgb.DMatrix(X, Y, **CATEGORIES), 4),
}


def dumped(model):
    return b"".join(ADAPTER.dump(model))


@pytest.mark.parametrize("name", MODELS)
def test_it_predicts_the_same_and_gives_the_same_bytes_again(name):
    model = MODELS[name]()
    given = np.nan_to_num(X) if name == "linear" else X
    loaded = ADAPTER.load(memoryview(data := dumped(model)))
    assert type(loaded) is type(model)
    assert ADAPTER.predict(loaded, given).tobytes() == ADAPTER.predict(model, given).tobytes()
    assert dumped(loaded) == data
    assert adapter_for(model).name == "xgboost"


@pytest.mark.parametrize("name", ["regressor", "booster", "trees of vectors"])
def test_it_conforms(name):
    def train(model, optimizer):
        if name == "booster":
            return xgb.train({"max_depth": 3, "nthread": 1}, xgb.DMatrix(X, Y), 2, xgb_model=model), optimizer
        target = np.stack([Y, -Y], 1) if name == "trees of vectors" else Y
        return model.set_params(n_estimators=2).fit(X, target, xgb_model=model.get_booster()), optimizer

    check_adapter(ADAPTER, MODELS[name], inputs=X, other=MODELS["classifier"], train=train)


def test_parameters_are_kept_as_they_were_given():
    model = fitted("XGBRegressor", Y, learning_rate=0.25, monotone_constraints=(0, 1, 0))
    loaded = ADAPTER.load(dumped(model))
    given, kept = model.get_params(), loaded.get_params()
    assert (kept["learning_rate"], list(kept["monotone_constraints"])) == (0.25, [0, 1, 0])
    assert {name for name in given if given[name] is None} == {name for name in kept if kept[name] is None}


def test_categories_of_a_data_frame_are_kept():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"kind": pandas.Categorical([f"k{value:.0f}" for value in X[:, 0]]), "b": X[:, 1]})
    model = xgb.XGBRegressor(n_estimators=3, enable_categorical=True, max_cat_to_onehot=1).fit(frame, Y)
    loaded = ADAPTER.load(dumped(model))
    codes = np.stack([frame.kind.cat.codes, frame.b], 1)
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    assert np.array_equal(ADAPTER.predict(loaded, codes), model.predict(frame))


def test_an_objective_of_ones_own_is_refused():
    model = xgb.XGBRegressor(n_estimators=1, objective=lambda y, p: (p - y, np.ones_like(y))).fit(X, Y)
    with pytest.raises(ModelError, match="the parameter objective is a function"):
        dumped(model)


def test_a_class_of_ones_own_is_refused():
    class Mine(xgb.XGBRegressor):
        pass

    with pytest.raises(ModelError, match="a Mine is none of Booster, XGBRegressor"):
        dumped(Mine(n_estimators=1).fit(X, Y))


def test_a_model_that_is_not_trained_is_refused():
    with pytest.raises(ModelError, match="this XGBRegressor is not trained yet"):
        dumped(xgb.XGBRegressor())


def test_inputs_of_another_width_are_refused():
    with pytest.raises(ModelError, match=r"takes \(rows, 3\), given \(120, 2\)"):
        ADAPTER.predict(booster(), X[:, :2])


def test_loading_into_another_class_is_a_mismatch():
    with pytest.raises(MismatchError, match="stored model is a Booster, the one to load into a XGBRegressor"):
        ADAPTER.load(dumped(booster()), xgb.XGBRegressor())


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def test_pickles_have_no_effect(tmp_path):
    bomb = pickle.dumps(Bomb(str(tmp_path / "marker")))
    state = pickle.dumps(booster())
    data = dumped(booster())
    header = data[: 8 + int.from_bytes(data[:8], "little")]
    for attack in (bomb, state, header + bomb, header + booster().__getstate__()["handle"]):
        with pytest.raises(CorruptBlobError):
            ADAPTER.load(bytes(attack))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["os.system", "DMatrix", "XGBModel", "__class__", None, 3])
def test_classes_that_are_not_on_the_list_are_refused(kind):
    import json

    text = json.dumps({"class": kind, "params": {}}).encode()
    with pytest.raises(CorruptBlobError, match="is none of Booster"):
        ADAPTER.load(len(text).to_bytes(8, "little") + text)


def edited(field, place, value, kind="i", name="regressor", tree=0):
    """A model of which one number in an array of a tree has been changed by hand."""
    data = bytearray(dumped(MODELS[name]()))
    mark = struct.pack(">q", len(field)) + field.encode() + b"[$"
    at = -1
    for _ in range(tree + 1):
        at = data.index(mark, at + 1)
    first = at + len(mark) + 1 + 2 + 8
    struct.pack_into(f">{kind}", data, first + place * struct.calcsize(kind), value)
    return bytes(data)


@pytest.mark.parametrize(
    ("field", "place", "value", "text"),
    [
        ("left_children", 0, 10**6, "points outside of its tree"),
        ("left_children", 1, 0, "points outside of its tree, or to its root"),
        ("right_children", 0, 1, "do not agree|two parents"),
        ("left_children", 0, -7, "points outside"),
        ("parents", 3, 10**6, "a parent is outside of the tree"),
        ("parents", 0, 5, "the root has a parent"),
        ("split_indices", 0, 3, "a feature is not there"),
        ("split_indices", 0, -1, "a feature is not there"),
    ],
)
def test_a_tree_that_points_outside_is_refused(field, place, value, text):
    with pytest.raises(CorruptBlobError, match=text):
        ADAPTER.load(edited(field, place, value))


def test_categories_that_would_fill_the_memory_are_refused():
    with pytest.raises(CorruptBlobError, match="a category is out of range"):
        ADAPTER.load(edited("categories", 0, 2**31 - 1, name="categorical booster"))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"num_nodesSL\0\0\0\0\0\0\0\x02", b"num_nodesSL\0\0\0\0\0\0\0\xff", "not a model"),
        (b"num_trees", b"num_treez", "num_trees"),
        (b"base_weights", b"base_weightz", "is not known to this Nemesyst"),
        (b"[$l#L\0\0\0\0", b"[$l#L\0\0\xff\0", "numbers are claimed at byte"),
        (b"[$l#L\0\0\0\0", b"[$l#L\xff\0\0\0", "a length of -"),
        (b"gbtree", b"gbwood", "gbwood"),
    ],
)
def test_a_structure_that_does_not_fit_is_refused(old, new, text):
    data = dumped(MODELS["regressor"]())
    assert old in data
    with pytest.raises(CorruptBlobError, match=text):
        ADAPTER.load(data.replace(old, new, 1))


def test_deep_nesting_is_refused():
    data = dumped(booster())
    begin = 8 + int.from_bytes(data[:8], "little")
    deep = b"{L" + struct.pack(">q", 1) + b"a" + (b"[#L" + struct.pack(">q", 1)) * 100_000
    with pytest.raises(CorruptBlobError, match="nested too deeply"):
        ADAPTER.load(data[:begin] + deep)


@pytest.mark.slow
def test_damaged_models_never_crash_the_process():
    """Thousands of models with wrong bytes, in a process of their own: each is refused, or can be used."""
    program = Path(__file__).parent / "xgboost_damage_program.py"
    done = subprocess.run([sys.executable, str(program), "6000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    used, refused = (int(number) for number in done.stdout.split())
    assert used > 100
    assert refused > 1000
