from __future__ import annotations

import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest

pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io")

from sklearn import (
    calibration,
    cluster,
    compose,
    ensemble,
    gaussian_process,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline

from nemesyst.checks import check_adapter
from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, UntrustedError
from nemesyst.frameworks import adapter_named

pytestmark = pytest.mark.slow

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
    compose.ColumnTransformer([("a", preprocessing.StandardScaler(), [0, 1]), ("b", "passthrough", [2])]),
    ensemble.VotingClassifier([("a", naive_bayes.GaussianNB()), ("b", linear_model.LogisticRegression())]),
    ensemble.AdaBoostClassifier(n_estimators=2, random_state=0),
    model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1.0, 2.0]}, scoring="neg_mean_absolute_error"),
    model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}, cv=model_selection.ShuffleSplit(2, random_state=0)),
    neighbors.KNeighborsClassifier(algorithm="brute"),
]


def dumped(model):
    return b"".join(ADAPTER.dump(model))


@pytest.mark.parametrize("model", COMMON, ids=lambda model: type(model).__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_trained_estimator_gives_the_same_outputs_without_more_trust(model):
    model.fit(X, Y)
    loaded = ADAPTER.load(memoryview(data := dumped(model)))
    assert ADAPTER.predict(loaded, X).tobytes() == ADAPTER.predict(model, X).tobytes()
    assert dumped(loaded) == data


def forest():
    return make_pipeline(preprocessing.StandardScaler(), ensemble.RandomForestRegressor(3, random_state=0)).fit(X, Y)


def online():
    return linear_model.SGDRegressor(random_state=0).fit(X, Y)


@pytest.mark.parametrize("make", [forest, online])
def test_it_conforms(make):
    def train(model, optimizer):
        for _ in range(3):
            model.partial_fit(X, Y)
        return model, optimizer

    other = linear_model.Ridge().fit
    check_adapter(ADAPTER, make, inputs=X, other=lambda: other(X, Y), train=train if make is online else None)


def test_training_again_elsewhere_gives_the_same_bytes():
    """Neither the order of strings in sets, nor dates, nor what memory held before is in the bytes."""
    program = (
        "import hashlib; from sklearn import ensemble, linear_model; import numpy as np\n"
        "from nemesyst.frameworks import adapter_named\n"
        "x = np.random.default_rng(0).random((50, 3)); y = x[:, 0]\n"
        "words = linear_model.Ridge(); words.kept_ = {'a', 'b', 'c', 'd', 'e'}\n"
        "for model in (ensemble.ExtraTreesRegressor(3, random_state=0).fit(x, y), words):\n"
        "    data = b''.join(adapter_named('sklearn').dump(model))\n"
        "    print(hashlib.sha256(data).hexdigest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in "12"
    ]
    assert told[0].stdout.count("\n") == 2, told[0].stderr
    assert told[0].stdout == told[1].stdout


def test_arrays_of_equal_content_are_stored_once():
    model = linear_model.Ridge().fit(X, Y)
    alone = len(dumped(model))
    model.first_, model.second_ = np.arange(50_000.0), np.arange(50_000.0)
    assert len(dumped(model)) < alone + 1.2 * 50_000 * 8


def test_what_was_one_object_is_one_object_again():
    model = linear_model.Ridge().fit(X, Y)
    model.first_ = model.second_ = [np.zeros(3)]
    loaded = ADAPTER.load(dumped(model))
    assert loaded.first_ is loaded.second_


def test_dtypes_are_kept():
    model = linear_model.Ridge().fit(X.astype(np.float32), Y.astype(np.float32))
    loaded = ADAPTER.load(dumped(model))
    assert (loaded.coef_.dtype, ADAPTER.predict(loaded, X.astype(np.float32)).dtype) == (np.float32, np.float32)


def test_sparse_matrices_are_kept_where_the_reader_trusts_them():
    sparse = pytest.importorskip("scipy.sparse")
    model = neighbors.KNeighborsClassifier(algorithm="brute").fit(sparse.csr_matrix(X), Y)
    data = dumped(model)
    with pytest.raises(UntrustedError, match=r"csr_matrix"):
        ADAPTER.load(data)
    loaded = ADAPTER.load(data, trust=["scipy.sparse._csr.csr_matrix"])
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert dumped(loaded) == data


def test_weights_are_named_by_their_place():
    names = [name for name, _ in ADAPTER.weights(forest())]
    assert "steps/0/1/mean_" in names
    assert "steps/1/1/estimators_/2/tree_/nodes/threshold" in names


def test_inputs_that_do_not_fit_are_one_error():
    with pytest.raises(ModelError, match="Ridge cannot predict: X has 2 features, but Ridge is expecting 4"):
        ADAPTER.predict(linear_model.Ridge().fit(X, Y), X[:, :2])


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


def _npy(array, **header):
    """An array file whose header says something else than what follows."""
    np.save(stream := io.BytesIO(), array, allow_pickle=True)
    data = stream.getvalue()
    for old, new in header.items():
        data = data.replace(old.encode(), new.encode(), 1)
    return data


def test_an_archive_with_links_is_refused():
    link = zipfile.ZipInfo("9.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(buffer := io.BytesIO(dumped(linear_model.Ridge().fit(X, Y))), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CorruptBlobError, match="links as members"):
        ADAPTER.load(buffer.getvalue())


def test_an_array_of_pickled_objects_has_no_effect(tmp_path):
    bomb = _npy(np.array([Bomb(str(tmp_path / "marker"))], dtype=object))
    with pytest.raises(CorruptBlobError, match="0.npy holds pickled objects"):
        ADAPTER.load(_edited(lambda schema: schema, extra={"0.npy": bomb}))
    assert not list(tmp_path.iterdir())


def test_an_array_that_claims_terabytes_is_refused():
    large = _npy(np.zeros(4), **{"(4,), ": "(1099511627776,)"})
    with pytest.raises(CorruptBlobError, match="claims 1099511627776 elements of float64 in 42 bytes"):
        ADAPTER.load(_edited(lambda schema: schema, extra={"0.npy": large}))


def test_a_compressed_archive_inside_of_the_archive_is_refused():
    with zipfile.ZipFile(inner := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", _npy(np.zeros(10**6)))
    with pytest.raises(CorruptBlobError, match="compressed members"):
        ADAPTER.load(_edited(lambda schema: schema, extra={"9.npz": inner.getvalue()}))


def test_references_that_multiply_are_refused():
    """Forty lists, each of which holds the next one twice: 2^40 to walk."""

    def change(schema):
        node = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
        inner = {**node, "content": [], "__id__": 40}
        for number in range(39, 0, -1):
            inner = {**node, "content": [inner, {**node, "content": [], "__id__": number + 1}], "__id__": number}
        schema["content"]["content"]["alpha"] = inner
        return schema

    with pytest.raises(CorruptBlobError, match="describes one object in two ways"):
        ADAPTER.load(_edited(change))


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
