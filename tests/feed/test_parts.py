"""Parts of a split: by value alone, evenly, for good."""

from datetime import datetime

import numpy as np
import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import FieldError
from nemesyst.feed import Split
from nemesyst.feed.parts import parts, shares_of

pytestmark = pytest.mark.core


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(st.integers(-(2**52), 2**52))
def test_a_whole_number_has_one_share_whatever_its_type(value):
    alone = [shares_of(np.array([value], kind))[0] for kind in (np.int64, np.float64)]
    among = shares_of(objects(value, "x", float(value)))
    assert alone[0] == alone[1] == among[0] == among[2]


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_has_the_same_share_among_other_kinds(value):
    assert shares_of(np.array([value]))[0] == shares_of(objects(value, "x"))[0]


def test_a_date_has_the_same_share_among_other_kinds():
    moment = datetime(2024, 5, 1, 12, 30)
    assert shares_of(np.array([moment], "datetime64[ms]"))[0] == shares_of(objects(moment, "x"))[0]


@pytest.mark.parametrize(
    "keys",
    [np.arange(20_000), np.arange(20_000) * 0.5, np.arange(20_000).astype("datetime64[ms]"),
     np.array([f"unit{i}" for i in range(20_000)]), objects(*({"unit": i, "t": i} for i in range(20_000)))],
    ids=["ints", "floats", "dates", "texts", "documents"],
)  # fmt: skip
def test_shares_are_spread_evenly(keys):
    counts, _ = np.histogram(shares_of(keys), bins=10, range=(0, 1))
    assert counts.sum() == 20_000
    assert counts.min() > 1_800
    assert counts.max() < 2_200


def test_shares_do_not_change_between_releases():
    keys = objects(7, "unit7", ObjectId("0123456789abcdef01234567"), {"unit": 7, "t": 1.0})
    assert shares_of(keys).round(12).tolist() == KNOWN


KNOWN = [0.389829748391, 0.655198435945, 0.444849953971, 0.841290924273]


def test_a_row_that_is_named_train_is_divided_by_the_shares():
    named = np.array(["train", "test"] * 500)
    chosen = parts(Split(field="part", validation=0.3), np.arange(1000), named, None, 1000)
    assert set(chosen[named == "test"]) == {2}
    assert 100 < (chosen[named == "train"] == 1).sum() < 200


def test_a_name_that_is_no_part_is_told():
    with pytest.raises(FieldError, match="'tset'"):
        parts(Split(field="part"), None, np.array(["train", "tset"]), None, 2)
