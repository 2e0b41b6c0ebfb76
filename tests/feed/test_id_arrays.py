"""The ``_id`` of rows as arrays: what they hold is what Python's objects hold."""

from __future__ import annotations

from datetime import UTC, datetime

import bson
import numpy as np
import pytest
from bson import Int64, ObjectId

from nemesyst.feed.decode import Decoder, id_arrays
from nemesyst.models.evaluation.identity import numbers_of_rows, of_numbers, of_rows

pytestmark = pytest.mark.core


def columns(ids):
    rows = [{"_id": each, "air": 1.5} for each in ids]
    array = bson.encode({str(n): row for n, row in enumerate(rows)})
    return Decoder(["air"]).decode(array)


PLAIN = {
    "ObjectIds": [ObjectId() for _ in range(20)],
    "whole numbers": [1, 2, Int64(3), 2**40],
    "fractions": [0.5, 2.0, -3.25],
    "dates": [datetime(2026, 1, n + 1, 5, 6, 7, 8000) for n in range(9)],
    "texts": ["a", "bé", "ccc", ""],
    "keys": [{"unit": n // 3, "t": 10 * n} for n in range(12)],
    "keys of texts and dates": [{"unit": f"site{n * n}", "t": datetime(2026, 1, n + 1)} for n in range(9)],
    "keys of fractions": [{"a": n / 3, "b": "x" * n, "c": Int64(n)} for n in range(5)],
}
OTHERS = {
    "different kinds": [1, "a", 2.5],
    "numbers of two kinds": [1, 2.5],
    "booleans": [True, False],
    "other fields": [{"unit": 1, "t": 2}, {"unit": 1, "day": 2}],
    "one field more": [{"unit": 1, "t": 2}, {"unit": 1, "t": 2, "u": 3}],
    "another order": [{"unit": 1, "t": 2}, {"t": 2, "unit": 1}],
    "documents within": [{"unit": {"a": 1}, "t": 2}] * 2,
    "ObjectIds in keys": [{"unit": ObjectId(), "t": 2} for _ in range(3)],
    "dotted fields": [{"a.b": 1}, {"a.b": 2}],
    "empty documents": [{}, {}],
    "nulls": [{"unit": None, "t": 2}] * 2,
}


@pytest.mark.parametrize("kind", PLAIN)
def test_ids_of_one_kind_are_told_apart_without_objects_as_with_them(kind):
    ids = PLAIN[kind]
    found = id_arrays(columns(ids))
    assert found is not None
    as_objects, as_arrays = of_rows(list(columns(ids).ids())), of_numbers(numbers_of_rows(found))
    for ours, theirs in zip(as_arrays, as_objects, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()
    assert len(set(as_arrays.key.tolist())) == len(ids)


@pytest.mark.parametrize("kind", OTHERS)
def test_ids_of_different_kinds_or_fields_are_left_as_objects(kind):
    assert id_arrays(columns(OTHERS[kind])) is None


def test_the_arrays_hold_what_the_fields_hold():
    found = id_arrays(columns(PLAIN["keys of texts and dates"]))
    assert list(found) == ["unit", "t"]
    assert found["unit"].tolist() == [each["unit"] for each in PLAIN["keys of texts and dates"]]
    assert found["t"].dtype == np.dtype("datetime64[ms]")
    first = datetime(2026, 1, 1, tzinfo=UTC)
    assert found["t"][0] == np.datetime64(int(first.timestamp() * 1000), "ms")


def test_no_rows_have_no_arrays():
    assert id_arrays(columns([])) is None
