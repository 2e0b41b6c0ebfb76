"""Mean, deviation and range: exact, whatever the order of rows."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nemesyst.errors import FeedError, FieldError
from nemesyst.feed.scaling import Moments, Statistics, collector

pytestmark = pytest.mark.core

NUMBERS = st.floats(-(2.0**99), 2.0**99, width=32) | st.floats(-10, 10) | st.integers(-(2**53), 2**53)


def reference(values):
    """Mean and deviation by rational numbers."""
    exact = [Fraction(float(value)) for value in values]
    mean = sum(exact) / len(exact)
    return float(mean), float(sum((value - mean) ** 2 for value in exact) / len(exact)) ** 0.5


def moments(*portions, fields=("a",)):
    taken = Moments(fields)
    for portion in portions:
        taken.add(portion)
    return taken


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.sampled_from([np.float32, np.float64]))
def test_mean_and_deviation_are_those_of_rational_numbers(values, kind):
    values = np.array(values, kind)[:, None]
    found = moments(values).statistics("standard")
    mean, deviation = reference(values[:, 0])
    assert found.centre == (mean,)
    assert found.spread[0] == pytest.approx(deviation if deviation >= 2**-149 else 1, rel=1e-12)


@given(st.data())
def test_order_portions_and_merging_do_not_change_a_bit(data):
    kind = data.draw(st.sampled_from([np.float32, np.float64, np.int64, np.uint8]))
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 3)))
    elements = st.floats(-(2.0**99), 2.0**99, width=32) | st.just(np.nan) if kind in (np.float32, np.float64) else None
    values = data.draw(arrays.arrays(kind, shape, elements=elements))
    cut = data.draw(st.integers(0, len(values)))
    order = data.draw(st.permutations(range(len(values))))
    fields = "abc"[: shape[1]]
    other = moments(values[order][:cut], fields=fields)
    other.merge(moments(values[order][cut:], fields=fields))
    for method in ("standard", "minmax"):
        assert moments(values, fields=fields).statistics(method) == other.statistics(method)


def test_many_rows_over_many_blocks_are_exact():
    values = np.random.default_rng(0).normal(1e6, 3e-3, (100_000, 2))
    whole, portions = moments(values, fields="ab"), moments(*np.array_split(values[::-1], 7), fields="ab")
    assert whole.statistics("standard") == portions.statistics("standard")
    assert whole.statistics("standard").spread == pytest.approx(values.std(axis=0), rel=1e-6)


def test_small_differences_of_large_values_are_kept():
    values = 1e9 + np.arange(1000)[:, None] * 1e-3
    assert moments(values).statistics("standard").spread[0] == pytest.approx(0.288675, rel=1e-5)


def test_tiny_values_beside_huge_ones_count():
    values = np.array([[1e38, 0], [-1e38, 0], [5e-324, 0]])
    assert moments(values, fields="ab").statistics("standard").centre[0] == float(Fraction(5e-324) / 3)


def test_minmax_maps_the_train_part_to_0_and_1():
    values = np.array([[3.0], [np.nan], [-1.0]], np.float32)
    found = moments(values).statistics("minmax")
    assert (found.centre, found.spread, found.count) == ((-1.0,), (4.0,), 3)


def test_missing_values_are_left_out():
    values = np.array([[1, np.nan], [3, np.nan]], np.float32)
    found = moments(values, fields="ab").statistics("standard")
    assert (found.centre, found.spread) == ((2.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_a_constant_field_has_spread_1(method):
    taken = collector(method, ["a"])
    taken.add(np.full((9, 1), 0.1, np.float32))
    assert taken.statistics(method).spread == (1.0,)


def test_all_elements_of_a_field_of_arrays_count_alike():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5), np.uint8)
    found = moments(images).statistics("standard")
    assert (found.centre[0], found.spread[0]) == pytest.approx((images.mean(), images.std()))
    assert found.count == 1000


@pytest.mark.parametrize("method", ["standard", "robust"])
@pytest.mark.parametrize(("value", "what"), [(np.inf, "infinite"), (-np.inf, "infinite"), (2e38, "2e+38")])
def test_what_float32_cannot_hold_is_refused_by_field(method, value, what):
    with pytest.raises(FieldError, match="field power holds .*train part") as error:
        collector(method, ["air", "power"]).add(np.array([[1, 2], [np.nan, value]], np.float32))
    assert what in str(error.value)


def test_no_rows_have_no_statistics():
    with pytest.raises(FeedError, match="no rows to take statistics of field a from"):
        moments(np.empty((0, 1))).statistics("standard")


def test_texts_are_refused():
    with pytest.raises(FieldError, match="field a holds <U1, not numbers"):
        moments(np.array([["x"]]))


@given(st.floats(-1e38, 1e38), st.floats(min_value=1e-30, max_value=1e38), st.sampled_from(["standard", "minmax"]))
def test_statistics_survive_json_to_the_bit(centre, spread, method):
    given = Statistics(method, ("a",), (centre,), (spread,), 7)
    assert Statistics.from_dict(json.loads(json.dumps(given.as_dict()))) == given
