"""Weights of rows and classes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import FeedError, FieldError
from nemesyst.feed.weights import ClassCounts, ClassWeights, check_weight, row_weights

pytestmark = pytest.mark.core


def counted(*portions):
    counts = ClassCounts()
    for portion in portions:
        counts.add(np.array(portion, np.int64))
    return counts


@pytest.mark.parametrize("values", [[0, 2], [0.0, 2.0], [[0], [2]]], ids=["ints", "floats", "column"])
def test_a_field_gives_float32_weights(values):
    weights = row_weights("w", np.array(values))
    assert weights.dtype == np.float32
    assert weights.tolist() == [0.0, 2.0]


@pytest.mark.parametrize(("value", "shown"), [(-0.5, "-0.5"), (np.nan, "nan"), (np.inf, "inf"), (1e39, "1e\\+39")])
def test_what_is_no_weight_is_told(value, shown):
    with pytest.raises(FieldError, match=rf"weight: field w is {shown} \(1 of 3 rows here"):
        row_weights("w", np.array([1.0, value, 2.0]))


@pytest.mark.parametrize("values", [np.array(["1"]), np.ones((2, 2))])
def test_weights_must_be_one_number_for_each_row(values):
    with pytest.raises(FieldError, match="field w holds .*not one number for each row"):
        row_weights("w", values)


@given(st.lists(st.integers(-3, 3), min_size=1), st.integers(0, 20))
def test_balanced_classes_count_alike_in_any_portions(labels, cut):
    whole, portions = counted(labels), counted(labels[cut:])
    portions.merge(counted(labels[:cut]))
    balanced = whole.balanced()
    assert balanced == portions.balanced()
    weights = balanced.of(np.array(labels))
    assert weights.sum() == pytest.approx(len(labels), rel=1e-5)
    totals = [weights[np.array(labels) == each].sum() for each in set(labels)]
    assert totals == pytest.approx([totals[0]] * len(totals), rel=1e-5)


def test_a_class_that_the_train_part_lacks_weighs_1():
    weights = counted([0, 0, 0, 1]).balanced().of(np.array([[0], [1], [7]]))
    assert weights.tolist() == pytest.approx([2 / 3, 2.0, 1.0])
    assert counted([]).balanced().of(np.array([3])).tolist() == [1.0]


def test_given_weights_and_1_for_the_others():
    given = counted([0, 1, 2]).given(check_weight({1: 5}))
    assert given.of(np.array([0, 1, 2])).tolist() == [1.0, 5.0, 1.0]
    assert ClassWeights.from_dict(json.loads(json.dumps(given.as_dict()))) == given


def test_weights_of_texts_go_to_their_codes():
    given = counted([0, 1]).given(check_weight({"on": 3}), {"off": 0, "on": 1})
    assert given.of(np.array([0, 1])).tolist() == [1.0, 3.0]


def test_a_class_that_is_misspelt_is_told():
    with pytest.raises(FeedError, match=r"weight\['onn'\]: the train part has no such class") as error:
        counted([0, 1]).given((("onn", 3.0),), {"off": 0, "on": 1})
    assert "did you mean on" in error.value.remedy
    with pytest.raises(FeedError, match="there are: 0, 1"):
        counted([0, 1]).given(((7, 3.0),))


@pytest.mark.parametrize("labels", [np.array([1.5]), np.array(["a"]), np.ones((2, 3), int)])
def test_what_is_no_class_is_told(labels):
    with pytest.raises(FieldError, match="classes are one whole number, text or boolean for each row"):
        ClassCounts().add(labels)


def test_a_specification_has_one_form():
    assert check_weight(None) is None
    assert check_weight("balanced") == "balanced"
    pairs = check_weight({2: 1, 0: 0.5, True: 3})
    assert pairs == ((0, 0.5), (1, 3.0), (2, 1.0))
    assert check_weight(json.loads(json.dumps(pairs))) == pairs


@pytest.mark.parametrize(
    "weight", ["", 3, {}, [1, 2], {"a": -1}, {"a": "x"}, {"a": float("nan")}, {1.5: 1}, {"a": 1, 2: 1}]
)
def test_other_specifications_are_refused(weight):
    with pytest.raises(FeedError, match="Feed: weight"):
        check_weight(weight)
