"""Metrics over time, in buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import CorruptBlobError
from nemesyst.models.curves import Curve, Curves, loaded

pytestmark = pytest.mark.core


def test_a_short_curve_is_kept_as_it_is():
    curves = Curves()
    for step, loss in enumerate((3.0, 2.0, 1.0)):
        curves.add({"loss": loss}, step)
    assert loaded(curves.dumped(), "air@1") == {"loss": [[0, 3, 3, 3, 1], [1, 2, 2, 2, 1], [2, 1, 1, 1, 1]]}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000))
def test_a_long_curve_keeps_mean_extremes_and_count_in_bounded_room(values):
    curve = Curve()
    for step, value in enumerate(values):
        curve.add(step, value)
    points = curve.points
    assert len(points) <= 512
    assert sum(point[4] for point in points) == len(values)
    assert min(point[2] for point in points) == min(values)
    assert max(point[3] for point in points) == max(values)
    mean = sum(point[1] * point[4] for point in points) / len(values)
    assert math.isclose(mean, sum(values) / len(values), rel_tol=1e-6, abs_tol=1e-6)


def test_steps_that_are_not_given_count_on():
    curves = Curves()
    curves.add({"loss": 1.0}, 10)
    curves.add({"loss": 2.0}, None)
    assert [point[0] for point in loaded(curves.dumped(), "air@1")["loss"]] == [10, 11]


def test_what_is_no_finite_number_is_left_out():
    curves = Curves()
    curves.add({"loss": math.nan, "rate": 0.1, "norm": math.inf}, 0)
    assert set(loaded(curves.dumped(), "air@1")) == {"rate"}


def test_without_values_there_is_nothing_to_keep():
    assert Curves().dumped() is None


@pytest.mark.parametrize("data", [b"", b"[]", b'{"loss": 3}', b'{"loss": [["a"]]}', b"\xff", b"[" * 5000])
def test_bytes_that_are_no_curves_are_refused(data):
    with pytest.raises(CorruptBlobError, match="curves of air@1"):
        loaded(data, "air@1")
