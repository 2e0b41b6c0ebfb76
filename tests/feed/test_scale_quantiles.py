"""Median and quartiles: exact for few values, close for many, and the same in any order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.feed.scaling import Quantiles

pytestmark = pytest.mark.core

FLOATS = st.floats(-1e30, 1e30) | st.floats(-1, 1, width=32) | st.just(-0.0)


def quantiles(*portions, fields=("a",), limit=None):
    taken = Quantiles(fields, limit)
    for portion in portions:
        taken.add(portion)
    return taken


@given(st.lists(FLOATS, min_size=1, max_size=80))
def test_few_values_have_exact_quartiles(values):
    found = quantiles(np.array(values)[:, None]).statistics("robust")
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    assert found.centre[0] == pytest.approx(median, rel=1e-12)
    if upper - lower >= 2**-149:
        assert found.spread[0] == pytest.approx(upper - lower, rel=1e-9, abs=1e-12 * np.abs(values).max())


def test_values_of_float32_stay_exact_though_bins_are_wide():
    values = np.random.default_rng(0).normal(-3, 1, (150_000, 1)).astype(np.float32)[:100_001]
    found = quantiles(values).statistics("robust")
    assert found.centre[0] == np.median(values)


@given(st.lists(FLOATS, min_size=1, max_size=80), st.integers(2, 20), st.data())
def test_order_portions_and_merging_do_not_change_a_bit(values, limit, data):
    values = np.array(values)[:, None]
    cut = data.draw(st.integers(0, len(values)))
    order = data.draw(st.permutations(range(len(values))))
    other = quantiles(values[order][:cut], limit=limit)
    other.merge(quantiles(*values[order][cut:, None], limit=limit))
    assert quantiles(values, limit=limit).statistics("robust") == other.statistics("robust")


@pytest.mark.parametrize("offset", [0, 4, 280, -1e9])
def test_many_values_have_close_quartiles(offset):
    values = np.random.default_rng(1).normal(offset, 1, (400_000, 1))
    found = quantiles(*np.array_split(values, 9)).statistics("robust")
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    bound = 8 / 2**17  # of the value: eight powers of two hold nearly all of them
    assert found.centre[0] == pytest.approx(median, abs=bound)
    assert found.spread[0] == pytest.approx(upper - lower, abs=2 * bound)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.bool_, np.float32])
def test_pixels_have_exact_quartiles(kind):
    images = np.random.default_rng(3).integers(-30000, 30000, (40, 6, 5)).astype(kind)
    found = quantiles(images[:25], images[25:]).statistics("robust")
    lower, median, upper = np.quantile(images.astype(float), [0.25, 0.5, 0.75])
    assert (found.centre, found.spread) == ((median,), (upper - lower or 1.0,))


def test_missing_values_are_left_out():
    values = np.array([[1, np.nan], [3, np.nan], [np.nan, np.nan]], np.float32)
    found = quantiles(values, fields="ab").statistics("robust")
    assert (found.centre, found.spread, found.count) == ((2.0, 0.0), (1.0, 1.0), 3)


def test_memory_is_bounded_by_the_limit():
    taken = quantiles(*np.random.default_rng(2).normal(0, 1, (30, 100, 1)), limit=16)
    taken.statistics("robust")
    assert len(taken._sketches[0]._bins) <= 16
