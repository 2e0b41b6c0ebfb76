"""Scaling batches, and predictions back."""

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.feed.scaling import Scaler, Statistics, check_scale

pytestmark = pytest.mark.core

TWO = Statistics("standard", ("air", "power"), (4.0, 100.0), (2.0, 50.0), 10)
ONE = Statistics("standard", ("air",), (4.0,), (2.0,), 10)
SCALER = Scaler({"x": TWO, "y": ONE})


@pytest.mark.parametrize("shape", [(5, 2), (5, 7, 2)], ids=["rows", "windows"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8])
def test_inputs_are_scaled_along_the_last_axis(shape, kind):
    x = (np.arange(np.prod(shape)).reshape(shape) % 200).astype(kind)
    x.flags.writeable = False
    scaled = SCALER.apply({"x": x})["x"]
    assert scaled.dtype == np.float32
    assert scaled == pytest.approx((x - np.array([4.0, 100.0])) / [2.0, 50.0])


def test_other_arrays_stay_as_they_are():
    batch = {"x": np.ones((3, 2), np.float32), "unit": np.array(["a", "b", "c"]), "weight": np.ones(3, np.float32)}
    scaled = SCALER.apply(batch)
    assert list(scaled) == ["x", "unit", "weight"]
    assert scaled["unit"] is batch["unit"]
    assert scaled["weight"] is batch["weight"]


def test_the_batch_given_is_not_changed():
    x = np.ones((3, 2), np.float32)
    SCALER.apply({"x": x})
    assert (x == 1).all()


def test_a_single_field_of_arrays_is_scaled_as_a_whole():
    images = np.full((2, 3, 3), 6, np.uint8)
    assert (Scaler({"x": ONE}).apply({"x": images})["x"] == 1).all()


def test_each_of_several_inputs_has_its_own_statistics():
    scaler = Scaler({"x.seq": TWO, "x.static": ONE})
    batch = {"x.seq": np.ones((2, 4, 2), np.float32), "x.static": np.ones((2, 1), np.float32)}
    scaled = scaler.apply(batch)
    assert scaled["x.seq"][0, 0].tolist() == pytest.approx([-1.5, -1.98])
    assert scaled["x.static"].tolist() == [[-1.5], [-1.5]]


def test_codes_of_categories_stay_as_they_are():
    both = TWO.over(["mode", "power", "air"])
    assert (both.centre, both.spread) == ((0.0, 100.0, 4.0), (1.0, 50.0, 2.0))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 1)])
def test_unscale_undoes_apply_and_keeps_the_dtype(kind, shape):
    y = np.random.default_rng(0).normal(4, 2, shape).astype(kind)
    back = SCALER.unscale(SCALER.apply({"y": y})["y"].astype(kind))
    assert back.dtype == kind
    assert back == pytest.approx(y, rel=1e-5)


def test_unscale_of_several_targets():
    assert Scaler({"y": TWO}).unscale(np.ones((1, 2), np.float32)).tolist() == [[6.0, 150.0]]


def test_lists_and_half_precision_are_unscaled_in_more():
    scaler = Scaler({"y": TWO})
    assert scaler.unscale([[1, 2]]).dtype == np.float64
    assert scaler.unscale(np.ones((1, 2), np.float16)).dtype == np.float32


def test_without_statistics_targets_stay():
    classes = np.array([1, 2])
    assert Scaler({"x": TWO}).unscale(classes) is classes


def test_a_last_axis_that_does_not_fit_is_refused():
    with pytest.raises(FeedError, match=r"x has the shape \(4, 3\), .* 2 fields: air, power"):
        SCALER.apply({"x": np.ones((4, 3))})
    with pytest.raises(FeedError, match=r"y has the shape \(4, 1\)"):
        Scaler({"y": TWO}).unscale(np.ones((4, 1)))


def test_a_scaler_survives_its_dictionary():
    assert Scaler.from_dict(SCALER.as_dict()).statistics == SCALER.statistics


def test_a_way_to_scale_that_there_is_not_is_refused():
    assert check_scale(None) is None
    assert check_scale("robust") == "robust"
    with pytest.raises(FeedError, match="did you mean standard"):
        check_scale("standart")
    with pytest.raises(FeedError, match="scale=True"):
        check_scale(scale=True)
