"""Points that divide a collection: in order, between its ends, and from them alone."""

from __future__ import annotations

import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.feed.plan.between import MOST, points, precedes

pytestmark = pytest.mark.core

numbers = st.one_of(st.integers(-(2**62), 2**62), st.floats(allow_nan=False))
texts = st.text(max_size=12)
kinds = st.sampled_from(
    [
        numbers,
        st.binary(min_size=12, max_size=12).map(ObjectId),
        st.integers(-(2**60), 2**60).map(DatetimeMS),
        texts.filter(str.isascii),
    ]
)


@given(st.data())
def test_points_ascend_and_lie_behind_what_is_known_up_to_the_last(data):
    begin, here, last = sorted(data.draw(st.lists(data.draw(kinds), min_size=3, max_size=3)))
    found = [point for (point,) in points((begin,), (here,), (last,), 2.0)]
    assert found == sorted(set(found))
    assert len(found) < MOST
    assert all(here < point <= last for point in found)


def test_there_are_about_as_many_stretches_of_four_chunks_as_are_to_come():
    found = points((0,), (1000,), (11_000,), 2.0)  # 2 chunks in 1,000: 20 more, so 5 stretches
    assert [point for (point,) in found] == [3000, 5000, 7000, 9000]
    assert all(isinstance(point, Int64) for (point,) in found)
    assert points((0,), (1000,), (2000,), 2.0) == []


def test_devices_are_divided_between_each_other_and_one_device_by_time():
    low, here, high = ({"unit": unit, "t": 5} for unit in (0, 1, 81))
    found = points((low,), (here,), (high,), 1.0)
    assert found[0] == ({"unit": 5},)
    assert all(list(point) == ["unit"] for (point,) in found)
    low, here, high = ({"unit": "a", "t": DatetimeMS(t)} for t in (0, 100, 900))
    assert points((low,), (here,), (high,), 2.0) == [({"unit": "a", "t": DatetimeMS(t)},) for t in (300, 500, 700)]


def test_names_are_divided_behind_what_they_share():
    found = points(("unit-000",), ("unit-100",), ("unit-900",), 4.0)
    assert found
    assert all(point.startswith("unit-") and "unit-100" < point <= "unit-900" for (point,) in found)


@pytest.mark.parametrize(
    ("here", "last"),
    [
        (None, None), (True, True), (False, True), (Decimal128("1"), Decimal128("9")), (1, "a"), (b"a", b"b"),
        (float("nan"), 4), (1, float("inf")), ({"a": 1}, {"b": 2}), ({"a": 1}, {"a": "b"}), ({}, {"a": 1}),
        ({"a": 1}, {"a": 1}), (5, 5),
    ],
)  # fmt: skip
def test_what_has_no_points_between_is_left_whole(here, last):
    assert points((here,), (here,), (last,), 100.0) == []


def test_where_nothing_tells_how_many_rows_there_are_there_are_a_few():
    assert len(points(({"a": 1, "b": 3},), ({"a": 2, "b": 0},), ({"a": 2, "b": 1000},), 3.0)) == 7


@given(st.data())
def test_what_surely_precedes_comes_before(data):
    one, other = data.draw(st.lists(data.draw(kinds), min_size=2, max_size=2))
    assert precedes(one, other) == (one < other)
    assert precedes({"u": 1, "t": one}, {"u": 1, "t": other}) == (one < other)


def test_documents_of_other_fields_or_types_are_left_to_the_server():
    assert precedes({"u": 1}, {"u": 1, "t": 0})
    assert not precedes({"u": 1}, {"v": 2})
    assert not precedes({"u": 1}, {"u": "1"})
    assert not precedes(1, "1")
    assert not precedes({"u": False}, {"u": True})
