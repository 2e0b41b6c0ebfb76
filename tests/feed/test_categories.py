"""Codes of categories: sorted, fixed on the train part, with a code of their own for the rest."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import FieldError
from nemesyst.feed.categories import Categories, CategoryCollector

pytestmark = pytest.mark.core

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


def collected(*portions, field="mode", **options):
    taken = CategoryCollector([field], **options)
    for portion in portions:
        taken.add(field, portion)
    return taken


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(st.lists(TEXTS, min_size=1), st.lists(TEXTS, min_size=1), st.booleans())
def test_texts_get_their_place_among_the_sorted_ones_of_the_train_part(train, others, as_objects):
    make = objects if as_objects else np.array
    categories = collected(make(train)).categories()
    known = sorted(set(train))
    expected = [known.index(text) if text in known else len(known) for text in others]
    codes = categories.encode("mode", make(others))
    assert codes.dtype == np.int64
    assert codes.tolist() == expected


@given(st.lists(TEXTS | st.none(), min_size=1), st.data())
def test_order_portions_and_merging_make_no_difference(texts, data):
    order = data.draw(st.permutations(range(len(texts))))
    cut = data.draw(st.integers(0, len(texts)))
    other = collected(objects(texts)[order][:cut])
    other.merge(collected(objects(texts)[order][cut:]))
    assert collected(objects(texts)).categories() == other.categories()


@pytest.mark.parametrize(
    ("train", "asked", "codes"),
    [
        (np.array([30, 10, 20]), np.array([10, 30, 11, -5, 99]), [0, 2, 3, 3, 3]),
        (np.array([30.0, 10.0, np.nan]), np.array([10.0, np.nan, 30.0]), [0, 2, 1]),
        (np.array([True]), np.array([True, False]), [0, 1]),
        (np.array([True, False]), objects([True, False, None]), [1, 0, 2]),
        (objects([None, None]), np.array(["x"]), [0]),
    ],
    ids=["ints", "whole floats", "booleans", "booleans among objects", "nothing known"],
)
def test_other_kinds_of_values(train, asked, codes):
    assert collected(train).categories().encode("mode", asked).tolist() == codes


def test_codes_keep_the_shape_of_the_values():
    categories = collected(np.array(["a", "b"])).categories()
    assert categories.encode("mode", np.array([["b", "a"], ["c", "b"]])).tolist() == [[1, 0], [2, 1]]


def test_codes_of_many_rows():
    rng = np.random.default_rng(0)
    texts = np.array([f"unit{i:05}" for i in range(3000)])
    rows = texts[rng.integers(0, len(texts), 200_000)]
    categories = collected(*np.array_split(rows, 5)).categories()
    assert categories.values["mode"] == tuple(texts)
    assert (texts[categories.encode("mode", rows.astype("U40"))] == rows).all()


def test_a_text_longer_than_all_others_and_slices_of_arrays():
    long = np.array(["a", "b" * 300, "a"])
    categories = collected(long[::2], long).categories()
    assert categories.encode("mode", long[::-1]).tolist() == [0, 1, 0]
    assert categories.encode("mode", np.array(["b" * 299])).tolist() == [2]


def test_texts_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr("nemesyst.feed.categories._factors", lambda width: np.ones(width, np.uint64))
    categories = collected(np.array(["ab", "ba", "c"])).categories()
    assert categories.encode("mode", np.array(["ba", "ab", "c", "bb"])).tolist() == [1, 0, 2, 3]


def test_codes_turn_back_into_values():
    categories = collected(np.array(["off", "on"])).categories()
    assert categories.decode("mode", np.array([1, 2, 0])).tolist() == ["on", None, "off"]
    assert categories.count("mode") == 3
    assert categories.code_of("mode") == {"off": 0, "on": 1}


@given(st.sets(TEXTS) | st.sets(st.integers(-(2**63), 2**63 - 1)) | st.sets(st.booleans()))
def test_categories_survive_json_with_their_types(values):
    given = Categories({"mode": tuple(sorted(values))})
    back = Categories.from_dict(json.loads(json.dumps(given.as_dict())))
    assert back == given
    assert [type(value) for value in back.values["mode"]] == [type(value) for value in given.values["mode"]]


def test_too_many_different_values_are_refused_with_a_remedy():
    with pytest.raises(FieldError, match="field mode has more than 9 different values") as error:
        collected(np.arange(5), np.arange(10), limit=9)
    assert "Group them" in error.value.remedy


@pytest.mark.parametrize(
    "portions",
    [
        (np.array(["a"]), np.array([1])),
        (objects(["a", 1]),),
        (objects([True, 1]),),
        (np.array([1]), objects([True])),
        (np.array([1]), np.array([True])),
    ],
    ids=["texts then ints", "texts and ints", "booleans and ints", "ints then boolean objects", "ints then booleans"],
)
def test_values_of_two_kinds_are_refused(portions):
    with pytest.raises(FieldError, match="field mode (holds|held) (booleans|texts|whole numbers)"):
        collected(*portions)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.5]),
        objects([{"a": 1}]),
        objects([b"x"]),
        np.array(["2024-01-01"], "datetime64[ms]"),
        np.array([np.inf]),
    ],
)
def test_what_cannot_be_a_category_is_refused(values):
    with pytest.raises(FieldError, match="field mode holds .*; only texts, whole numbers and booleans"):
        collected(values)


def test_another_kind_than_in_the_train_part_is_refused():
    categories = collected(np.array(["1", "2"])).categories()
    with pytest.raises(FieldError, match="field mode held texts in the train part, and now int64"):
        categories.encode("mode", np.array([1]))
