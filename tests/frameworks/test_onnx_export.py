"""The ONNX form of models of PyTorch, Keras and scikit-learn gives the models' own outputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the onnx-export extra")
pytest.importorskip("onnxruntime", reason="needs the onnx-export extra")

from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_named
from nemesyst.frameworks.onnx_export import check_onnx, sklearn_to_onnx, torch_to_onnx
from nemesyst.frameworks.onnx_model import OnnxModel

SEQUENCES = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(np.float32)
STATIC = np.random.default_rng(1).standard_normal((5, 2)).astype(np.float32)
X = SEQUENCES[:, 0]


@pytest.fixture
def models(hub):
    return hub.models


def nets():
    """PyTorch modules that are hard to export, each with inputs."""
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.memory = getattr(nn, kind)(3, 8, batch_first=True)
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 1)

        def forward(self, x):
            return self.out(self.drop(self.memory(x)[0][:, -1]))

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory, self.norm, self.out = nn.GRU(3, 8, batch_first=True), nn.BatchNorm1d(8), nn.Linear(10, 2)

        def forward(self, seq, static):
            return self.out(torch.cat([self.norm(self.memory(seq)[0][:, -1]), static], 1))

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            state = None
            for step in range(x.shape[1]):
                state = self.cell(x[:, step], state)
            return self.out(state[0])

    torch.manual_seed(0)
    return {
        "lstm": (Recurrent("LSTM"), SEQUENCES),
        "gru": (Recurrent("GRU"), SEQUENCES),
        "several inputs": (Two(), {"seq": SEQUENCES, "static": STATIC}),
        "a loop": (Steps(), SEQUENCES),
        "half precision": (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).half(), X),
        "one row": (nn.Linear(3, 1), X[:1]),
    }


@pytest.mark.parametrize("name", ["lstm", "gru", "several inputs", "a loop", "half precision", "one row"])
def test_a_module_of_pytorch_has_an_onnx_form(name, capfd):
    pytest.importorskip("torch", reason="needs the torch extra")
    module, inputs = nets()[name]
    module.train()
    adapter = adapter_named("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = adapter.to_onnx(module, inputs)
    check_onnx(adapter.predict(module, inputs), data, inputs, adapter.tolerance)
    assert module.training
    assert capfd.readouterr() == ("", "")
    expected = list(inputs) if isinstance(inputs, dict) else ["inputs"]
    assert (list(OnnxModel(data).inputs), list(OnnxModel(data).outputs)) == (expected, ["output"])


@pytest.mark.slow
def test_a_module_that_branches_by_a_value_is_refused():
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    pytest.importorskip("onnxscript")

    class Branch(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else -x[:, :1]

    with pytest.raises(ModelError, match="PyTorch cannot export this Branch: "):
        torch_to_onnx(Branch(3, 1), X)


def test_no_path_of_this_machine_is_in_the_file():
    pytest.importorskip("torch", reason="needs the torch extra")
    module, inputs = nets()["lstm"]
    data = torch_to_onnx(module, inputs)
    assert str(Path(__file__).parent).encode() not in data
    assert b"site-packages" not in data


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
@pytest.mark.slow
@pytest.mark.xdist_group("keras")
def test_a_model_of_keras_has_an_onnx_form(backend, keras_hosts):
    pytest.importorskip("keras", reason="needs the keras extra")
    pytest.importorskip(backend)
    program = Path(__file__).parent / "onnx_keras_program.py"
    expected = "Keras on jax has no exporter to ONNX" if backend == "jax" else "same outputs"
    assert keras_hosts.run(backend, program).splitlines() == [expected] * 3


def estimators():
    """Estimators of scikit-learn, fitted to three classes or to numbers."""
    from sklearn import cluster, ensemble, linear_model, model_selection, preprocessing, svm
    from sklearn.datasets import load_iris
    from sklearn.pipeline import make_pipeline

    x, y = load_iris(return_X_y=True)
    x = x.astype(np.float32)
    models = {
        "pipeline": make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        "ridge": linear_model.Ridge(),
        "search": model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1.0, 2.0]}),
        "forest": ensemble.RandomForestClassifier(5, random_state=0),
        "forest of numbers": ensemble.RandomForestRegressor(5, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0),
        "isolation": ensemble.IsolationForest(n_estimators=3, random_state=0),
        "lasso": linear_model.Lasso(),
        "support vectors": svm.SVC(),
        "clusters": cluster.KMeans(2, n_init=1, random_state=0),
        "scaler": preprocessing.StandardScaler(),
    }
    return {name: (model.fit(x, y), x) for name, model in models.items()}


def test_estimators_of_scikit_learn_have_an_onnx_form():
    pytest.importorskip("sklearn", reason="needs the sklearn extra")
    pytest.importorskip("skl2onnx", reason="needs the onnx-export extra")
    adapter = adapter_named("sklearn")
    for model, x in estimators().values():
        check_onnx(adapter.predict(model, x), adapter.to_onnx(model, x[:4]), x, adapter.tolerance)


def test_an_estimator_is_stored_in_both_forms(models):
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs the sklearn extra")
    pytest.importorskip("skl2onnx", reason="needs the onnx-export extra")
    forest = ensemble.RandomForestRegressor(3, random_state=0).fit(X, X[:, 0])
    version = models.save(forest, "air", golden=X, also="onnx")
    found = models.load(version.ref, form="onnx").run(X)
    assert [each.shape for each in found.values()] == [(5,)]


def test_an_estimator_that_has_none_is_one_error():
    base = pytest.importorskip("sklearn.base", reason="needs the sklearn extra")
    pytest.importorskip("skl2onnx", reason="needs the onnx-export extra")

    class Mine(base.BaseEstimator):
        def predict(self, x):
            return x

    with pytest.raises(ModelError, match="skl2onnx cannot export this Mine: "):
        sklearn_to_onnx(Mine(), X)


def negated():
    import onnx.parser

    text = '<ir_version: 9, opset_import: ["": 18]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
    return onnx.parser.parse_model(text).SerializeToString()


def test_the_largest_difference_is_named():
    x = np.arange(4, dtype=np.float32)
    check_onnx(-x, negated(), x, 1e-6)
    with pytest.raises(ModelError, match=r"other outputs: at \[2\] -2.0, the model -2.5; they may differ by 3.01e-06"):
        check_onnx(-x - np.array([0, 0, 0.5, 0.01], np.float32), negated(), x, 1e-6)


def test_nan_is_not_taken_for_equal():
    x = np.array([0, np.nan, 1], np.float32)
    check_onnx(-x, negated(), x, 1e-6)
    with pytest.raises(ModelError, match=r"other outputs: at \[1\] nan, the model 0.0"):
        check_onnx(np.array([0, 0, -1], np.float32), negated(), x, 1e-6)


def test_another_shape_is_named():
    with pytest.raises(ModelError, match=r"gives shape \(3,\), the model \(3, 2\)"):
        check_onnx(np.zeros((3, 2), np.float32), negated(), np.zeros(3, np.float32), 1e-6)
