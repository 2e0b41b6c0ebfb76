from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io")

from sklearn import (
    calibration,
    cluster,
    ensemble,
    gaussian_process,
    impute,
    linear_model,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, UntrustedError
from nemesyst.frameworks import adapter_named

ADAPTER = adapter_named("sklearn")
X, Y = load_iris(return_X_y=True)

COMMON = [
    make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    make_pipeline(impute.SimpleImputer(), linear_model.RidgeCV()),
    linear_model.Ridge(),
    linear_model.SGDClassifier(random_state=0),
    ensemble.RandomForestClassifier(3, random_state=0),
    ensemble.RandomForestRegressor(3, random_state=0),
    ensemble.ExtraTreesClassifier(3, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=3),
    ensemble.HistGradientBoostingClassifier(max_iter=3),
    ensemble.HistGradientBoostingRegressor(max_iter=3),
    ensemble.IsolationForest(n_estimators=3, max_features=2, random_state=0),
    ensemble.BaggingClassifier(n_estimators=2, max_features=0.5, random_state=0),
    ensemble.StackingClassifier([("f", ensemble.RandomForestClassifier(2, random_state=0))], cv=2),
    tree.DecisionTreeClassifier(),
    neural_network.MLPClassifier(hidden_layer_sizes=4, max_iter=5, random_state=0),
    neural_network.MLPRegressor(hidden_layer_sizes=4, max_iter=5, solver="sgd", random_state=0),
    svm.SVC(),
    calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2),
    cluster.KMeans(2, n_init=1, random_state=0),
    gaussian_process.GaussianProcessRegressor(),
]


def dumped(model):
    return b"".join(ADAPTER.dump(model))


@pytest.mark.parametrize("model", COMMON, ids=lambda model: type(model).__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_trained_estimator_gives_the_same_outputs_without_more_trust(model):
    model.fit(X, Y)
    loaded = ADAPTER.load(dumped(model))
    assert ADAPTER.predict(loaded, X).tobytes() == ADAPTER.predict(model, X).tobytes()


def test_a_transformer_predicts_by_transforming():
    scaler = preprocessing.StandardScaler().fit(X)
    assert np.array_equal(ADAPTER.predict(ADAPTER.load(dumped(scaler)), X), scaler.transform(X))


def test_loading_into_an_estimator_fills_it():
    model = linear_model.Ridge().fit(X, Y)
    assert ADAPTER.load(dumped(model), into := linear_model.Ridge(alpha=9)) is into
    assert (into.alpha, into.coef_.tolist()) == (model.alpha, model.coef_.tolist())


def test_loading_into_another_class_is_a_mismatch():
    with pytest.raises(MismatchError, match="stored model is a Ridge, the one to load into a Lasso"):
        ADAPTER.load(dumped(linear_model.Ridge()), linear_model.Lasso())


def test_a_type_outside_of_the_list_is_named_with_the_remedy():
    data = dumped(neighbors.KNeighborsClassifier().fit(X, Y))
    with pytest.raises(UntrustedError, match=r"sklearn\.neighbors\._kd_tree\.KDTree\n  .*pass trust="):
        ADAPTER.load(data)


def test_the_reader_may_trust_types_by_name():
    model = neighbors.KNeighborsClassifier().fit(X, Y)
    names = skops.get_untrusted_types(data=(data := dumped(model)))
    assert np.array_equal(ADAPTER.predict(ADAPTER.load(data, trust=names), X), model.predict(X))


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def test_a_pickle_has_no_effect(tmp_path):
    with pytest.raises(CorruptBlobError, match="not a readable skops archive"):
        ADAPTER.load(pickle.dumps(Bomb(str(tmp_path / "marker"))))
    assert not list(tmp_path.iterdir())


def _edited(change, *, compress=zipfile.ZIP_STORED, extra=None):
    """A Ridge's archive whose schema has been changed by hand."""
    with zipfile.ZipFile(io.BytesIO(dumped(linear_model.Ridge().fit(X, Y)))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["schema.json"] = json.dumps(change(json.loads(members["schema.json"]))).encode()
    members |= extra or {}
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compress) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [("FunctionNode", "os", "system"), ("TypeNode", "subprocess", "Popen"), ("ObjectNode", "shutil", "rmtree")],
)
def test_an_archive_that_names_a_dangerous_callable_is_refused(loader, module, name):
    def change(schema):
        schema["content"]["content"]["alpha"] = {"__loader__": loader, "__module__": module, "__class__": name}
        return schema

    with pytest.raises(UntrustedError, match=f"{module}.{name}"):
        ADAPTER.load(_edited(change))


def test_a_call_that_is_hidden_in_a_partial_has_no_effect(tmp_path):
    def node(loader, module, name, **more):
        return {"__loader__": loader, "__module__": module, "__class__": name, **more}

    def change(schema):
        marker = node("JsonNode", "builtins", "str", content=json.dumps(str(tmp_path / "marker")), is_json=True)
        schema["content"]["content"]["alpha"] = node(
            "ConstructorFromReduceNode",
            "io",
            "FileIO",
            content=node("TupleNode", "builtins", "tuple", content=[marker, marker]),
        )
        return schema

    with pytest.raises(UntrustedError, match=r"io\.FileIO"):
        ADAPTER.load(_edited(change))
    assert not list(tmp_path.iterdir())


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    bomb = _edited(lambda schema: schema, compress=zipfile.ZIP_DEFLATED, extra={"1.npy": bytes(10_000_000)})
    with pytest.raises(CorruptBlobError, match="compressed members"):
        ADAPTER.load(bomb)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy", "..\\evil.npy"])
def test_an_archive_with_paths_is_refused(name):
    with pytest.raises(CorruptBlobError, match="paths"):
        ADAPTER.load(_edited(lambda schema: schema, extra={name: b""}))


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -30])
def test_a_truncated_archive_is_refused(cut):
    with pytest.raises(CorruptBlobError, match="not a readable skops archive"):
        ADAPTER.load(dumped(linear_model.Ridge().fit(X, Y))[:cut])


def _tree_with(field, value):
    model = tree.DecisionTreeClassifier(random_state=0).fit(X, Y)
    state = model.tree_.__getstate__()
    state["nodes"][field][0] = value
    model.tree_.__setstate__(state)
    return model


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("right_child", 0), ("feature", 10**6), ("feature", -5)]
)
def test_a_tree_that_points_outside_is_refused(field, value):
    with pytest.raises(CorruptBlobError, match="a node of a tree"):
        ADAPTER.load(dumped(_tree_with(field, value)))


def test_a_forest_with_such_a_tree_inside_is_refused():
    forest = make_pipeline(ensemble.RandomForestClassifier(2, random_state=0).fit(X, Y))
    forest[0].estimators_[1] = _tree_with("left_child", 10**6)
    with pytest.raises(CorruptBlobError, match="a node of a tree"):
        ADAPTER.load(dumped(forest))


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 10**6)])
def test_a_boosted_tree_that_points_outside_is_refused(field, value):
    model = ensemble.HistGradientBoostingRegressor(max_iter=2).fit(X, Y)
    model._predictors[1][0].nodes[field][0] = value
    with pytest.raises(CorruptBlobError, match="a node of a tree"):
        ADAPTER.load(dumped(model))


def test_a_forest_that_takes_fewer_features_than_its_trees_is_refused():
    forest = ensemble.RandomForestClassifier(2, random_state=0).fit(X, Y)
    forest.n_features_in_ = 1
    with pytest.raises(CorruptBlobError, match="differ in their features"):
        ADAPTER.load(dumped(forest))


def test_what_skops_cannot_store_is_one_error():
    with pytest.raises(ModelError, match="skops cannot store this FunctionTransformer"):
        dumped(preprocessing.FunctionTransformer(x for x in ()))


def test_several_inputs_by_name_are_refused():
    with pytest.raises(ModelError, match="one array"):
        ADAPTER.predict(linear_model.Ridge().fit(X, Y), {"a": X})
