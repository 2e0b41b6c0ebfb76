from __future__ import annotations

import math

import numpy as np
import pytest

from nemesyst.errors import SettingsError
from nemesyst.models import metrics as m

pytestmark = pytest.mark.core

rng = np.random.default_rng(0)
Y, P = rng.normal(5, 2, 400), rng.normal(5, 2, 400)
LABELS, SCORES = rng.integers(0, 4, 400), rng.normal(size=(400, 4))
SOFT = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (m.mae, np.abs(Y - P).mean()),
        (m.mse, ((Y - P) ** 2).mean()),
        (m.rmse, math.sqrt(((Y - P) ** 2).mean())),
        (m.mape, (np.abs(Y - P) / np.abs(Y)).mean()),
        (m.r2, 1 - ((Y - P) ** 2).sum() / ((Y - Y.mean()) ** 2).sum()),
        (m.pinball(0.9), np.where(Y > P, 0.9 * (Y - P), 0.1 * (P - Y)).mean()),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_metric_of_numbers_is_its_formula(metric, expected):
    assert metric(Y, P) == pytest.approx(expected)
    assert metric(Y[:, None], P) == pytest.approx(expected)  # (rows, 1) is (rows,)
    assert metric(Y.reshape(100, 4), P.reshape(100, 4, 1)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "said", "expected"),
    [
        (m.accuracy, SCORES, (SCORES.argmax(1) == LABELS).mean()),
        (m.accuracy, SCORES.argmax(1), (SCORES.argmax(1) == LABELS).mean()),
        (m.log_loss, SCORES, -np.log(SOFT[range(400), LABELS]).mean()),
        (m.log_loss, SOFT, -np.log(SOFT[range(400), LABELS]).mean()),
    ],
)
def test_a_metric_of_classes_takes_scores_probabilities_or_classes(metric, said, expected):
    assert metric(LABELS, said) == pytest.approx(expected)


def test_classes_agree_with_scikit_learn():
    ours = pytest.importorskip("sklearn.metrics")
    said = SCORES.argmax(1)
    assert m.f1(LABELS == 1, said == 1) == pytest.approx(ours.f1_score(LABELS == 1, said == 1))
    assert m.macro_f1(4)(LABELS, said) == pytest.approx(ours.f1_score(LABELS, said, average="macro"))
    assert m.f1(LABELS > 1, SOFT[:, 2:].sum(1)) == pytest.approx(ours.f1_score(LABELS > 1, SOFT[:, 2:].sum(1) >= 0.5))


@pytest.mark.parametrize("metric", [m.mae, m.rmse, m.r2, m.pinball(0.1), m.mape], ids=lambda each: each.name)
def test_sums_of_any_portions_give_the_same(metric):
    pieces = [metric.rows(Y[part], P[part]).sum(axis=0) for part in np.array_split(rng.permutation(400), 7)]
    assert metric.total(np.sum(pieces, axis=0)) == pytest.approx(metric(Y, P))


def test_what_is_not_known_or_was_not_measured_does_not_count():
    truth = np.array([[1.0, np.nan], [2.0, 5.0]])
    assert m.mae(truth, np.zeros((2, 2))) == pytest.approx(8 / 3)
    measured = m.Truth.of(truth, np.array([[1, 1], [1, 0]]))
    assert m.mae.total(m.mae.rows(measured, np.zeros((2, 2))).sum(0)) == pytest.approx(1.5)


@pytest.mark.parametrize("metric", [m.mae, m.r2, m.accuracy, m.f1, m.log_loss], ids=lambda each: each.name)
def test_a_prediction_of_nan_makes_the_metric_nan(metric):
    truth = np.array([0, 1, 1, 0]) if metric.classes else np.array([0.0, 1.0, 1.0, 2.0])
    said = np.array([[0.2, 0.8]] * 3 + [[np.nan, np.nan]]) if metric is m.log_loss else np.array([0, 1, 1, np.nan])
    assert math.isnan(metric(truth, said))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: m.mae(Y, P[:3]), r"predictions have the shape \(3,\), and the truth \(400,\)"),
        (lambda: m.mae(Y, SCORES), "predictions have the shape"),
        (lambda: m.mae(LABELS, SCORES), "It compares numbers"),
        (lambda: m.mae(Y, np.array(["a"] * 400)), "not numbers"),
        (lambda: m.accuracy(Y, P), "not classes"),
        (lambda: m.accuracy(LABELS, P), "neither a class nor a probability"),
        (lambda: m.log_loss(LABELS, LABELS), "a score for each class"),
        (lambda: m.pinball(90), "Give a number between 0 and 1"),
        (lambda: m.macro_f1(1), "Give 2 to 1000"),
        (lambda: m.metric_named("mea"), "mse or mae"),
        (lambda: m.metric_named("pinball(7)"), "between 0 and 1"),
        (lambda: m.metrics_of({"a": 3}), r"metrics\['a'\] is 3"),
        (lambda: m.metrics_of([m.mae, m.mae]), "two have one name"),
    ],
)
def test_what_does_not_fit_is_said(call, text):
    with pytest.raises(SettingsError, match=text):
        call()


def test_a_metric_is_found_by_its_name():
    assert m.metric_named("pinball(0.25)").name == "pinball(0.25)"
    assert m.metric_named("macro_f1(3)").columns == 9
    for metric in (*m.BUILT_IN.values(), m.pinball(0.9), m.macro_f1(3)):
        assert m.is_built_in(metric)
    assert not m.is_built_in(m.Metric("mae", "lower", 2, m.mse.parts, m.mse.total))


def test_a_model_may_not_know_a_class():
    assert m.log_loss(np.array([0, 5]), np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(-math.log(1e-15) / 2)
