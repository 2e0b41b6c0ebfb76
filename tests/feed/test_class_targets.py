"""A single target of whole numbers, booleans or texts is of classes: nothing scales, averages or replaces it by NaN."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError

pytestmark = [pytest.mark.core, pytest.mark.slow]


@pytest.fixture
def rows(hub):
    """Rows 0 to 89 with targets of each kind, all there; gap is missing in row 70."""
    rows = [
        {"i": i, "air": i / 2, "label": i % 3, "on": i % 5 == 0, "mode": "ab"[i % 2], "w": i % 4, "gap": i % 3}
        for i in range(90)
    ]
    del rows[70]["gap"]
    hub.put("rows", rows, key="i")
    return hub


@pytest.mark.parametrize(("target", "scale"), [("on", "standard"), ("label", "minmax"), ("mode", "robust")])
@pytest.mark.parametrize("missing", ["error", "nan", "drop", 0.5])
def test_classes_are_not_scaled_whatever_missing_says(rows, target, scale, missing):
    feed = rows.feed("rows", inputs="air", targets=target, scale=scale, missing=missing)
    y = feed.to_numpy()["y"]
    wanted = {"on": lambda i: i % 5 == 0, "label": lambda i: i % 3, "mode": lambda i: i % 2}[target]
    assert (y.dtype, y.tolist()) == (np.int64, [int(wanted(i)) for i in range(90)])
    assert feed.unscale(y) is y


@pytest.mark.parametrize("weight", ["balanced", {True: 2.5, False: 0.625}])
def test_booleans_are_weighed_as_classes(rows, weight):
    batch = rows.feed("rows", inputs="air", targets="on", weight=weight).to_numpy()
    np.testing.assert_allclose(batch["weight"], np.where(batch["y"], 2.5, 0.625))


@pytest.mark.parametrize("missing", ["nan", 0.5])
def test_nothing_but_a_whole_number_stands_for_a_class(rows, missing):
    with pytest.raises(FieldError, match=r"targets: field gap is missing in document 70 .*cannot stand") as error:
        rows.feed("rows", inputs="air", targets="gap", missing=missing).to_numpy()
    assert 'missing="drop" or a whole number' in error.value.remedy
    assert "$toDouble" in error.value.remedy
    assert rows.feed("rows", inputs="air", targets="gap", missing=7).to_numpy()["y"][70] == 7
    assert len(rows.feed("rows", inputs="air", targets="gap", missing="drop").to_numpy()["y"]) == 89


def test_a_class_may_be_missing_anywhere_and_be_stored_as_a_float(hub):
    rows = [{"i": i, "label": float(i % 3) if i > 5000 else i % 3} for i in range(9000)]
    rows[8000]["label"] = None
    hub.put("rows", rows, key="i")
    kept = hub.feed("rows", inputs="i", targets="label", missing="drop").to_numpy()
    assert kept["y"].tolist() == [i % 3 for i in range(9000) if i != 8000]
    with pytest.raises(FieldError, match="targets: field label is null in document 8000"):
        hub.feed("rows", inputs="i", targets="label", missing="nan").to_numpy()


def test_a_measured_target_may_be_nan(rows):
    stages = [{"$set": {"gap": {"$toDouble": "$gap"}}}]
    y = rows.feed("rows", pipeline=stages, inputs="air", targets="gap", missing="nan").to_numpy()["y"]
    assert (y.dtype, y.shape) == (np.float32, (90, 1))
    assert np.flatnonzero(np.isnan(y)).tolist() == [70]


@pytest.mark.parametrize("missing", ["error", "nan", "drop", -1])
def test_a_stored_nan_is_a_value_and_not_missing(hub, missing):
    hub.put("rows", [{"i": i, "air": float("nan") if i == 3 else i / 2} for i in range(9)], key="i")
    found = hub.feed("rows", inputs=["i", "air"], targets="air", missing=missing).to_numpy()
    assert found["x"][:, 0].tolist() == list(range(9))
    assert np.flatnonzero(np.isnan(found["x"][:, 1])).tolist() == [3]
    assert np.flatnonzero(np.isnan(found["y"][:, 0])).tolist() == [3]
    scaled = hub.feed("rows", inputs="air", scale="minmax", missing=missing).to_numpy()["x"][:, 0]
    assert (np.nanmin(scaled), np.nanmax(scaled)) == (0, 1)


def test_a_nan_among_classes_is_told(hub):
    hub.put("rows", [{"i": i, "label": float("nan") if i == 7000 else i % 3} for i in range(9000)], key="i")
    with pytest.raises(FieldError, match="targets: field label is nan in document 7000, and held classes"):
        hub.feed("rows", inputs="i", targets="label", missing="nan").to_numpy()


@pytest.mark.parametrize("inputs", ["air", ["air", "mode"]])
def test_codes_of_texts_are_no_weights(rows, inputs):
    with pytest.raises(FieldError, match="weight: field mode holds texts, not one number for each row") as error:
        rows.feed("rows", inputs=inputs, targets="label", weight="mode").to_numpy()
    assert 'weight="balanced"' in error.value.remedy


def test_a_value_that_is_missing_is_told_with_what_may_stand_for_it(rows):
    with pytest.raises(FieldError, match="inputs: field gap is missing in document 70") as error:
        rows.feed("rows", inputs="gap").to_numpy()
    assert error.value.remedy.startswith('Use missing="nan", missing="drop" or a number')


def test_missing_does_not_stand_for_what_divides_rows(rows):
    with pytest.raises(FieldError, match="split: field gap is missing in document 70") as error:
        rows.feed("rows", inputs="air", missing="nan", split=nm.Split(by="gap", test=0.5)).to_numpy()
    assert "missing=" not in error.value.remedy
    assert "Each row needs it" in error.value.remedy


@pytest.mark.parametrize("shape", [(90, 3), (90, 2), (3, 90)])
def test_predictions_of_another_width_are_not_unscaled(rows, shape):
    feed = rows.feed("rows", inputs=["air", "i"], targets="air", scale="standard")
    with pytest.raises(FeedError, match=r"unscale: y has the shape .*, expected \(n, 1\) or \(n,\) as of field air"):
        feed.unscale(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (90,), (90, 1), (90, 5, 1)])
def test_predictions_of_one_target_are_unscaled(rows, shape):
    feed = rows.feed("rows", inputs="air", targets="air", scale="minmax")
    np.testing.assert_allclose(feed.unscale(np.ones(shape, np.float32)), np.full(shape, 44.5))


def test_predictions_over_a_horizon_are_unscaled_with_and_without_their_last_axis(rows):
    window = nm.Window(on="i", length=8, horizon=3)
    feed = rows.feed("rows", inputs="air", targets="air", scale="minmax", window=window)
    for shape in ((4, 3), (4, 3, 1), (3,)):
        np.testing.assert_allclose(feed.unscale(np.zeros(shape)), np.zeros(shape), atol=1e-6)
    assert feed.unscale(np.zeros((4, 8)), "x").shape == (4, 8)
    with pytest.raises(FeedError, match=r"expected \(n, 3, 1\) or \(n, 3\)"):
        feed.unscale(np.zeros((4, 8)))
