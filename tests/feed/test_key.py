"""Chunks along a key: every document lies in one of them, whatever the types of its values."""

import math
from collections import Counter
from datetime import datetime

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemesyst.database import RawReader
from nemesyst.feed.plan import Bounds, Key

pytestmark = pytest.mark.core

ODD = [
    None, math.nan, Decimal128("NaN"), True, False, "", "a", "zz", {}, {"a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1},
    b"", b"xy", Binary(b"q", 5), ObjectId(b"a" * 12), ObjectId(b"b" * 12), datetime(2020, 1, 1), datetime(1960, 1, 1),
    Timestamp(1, 1), MinKey(), MaxKey(), -math.inf, math.inf, Decimal128("3.5"), Int64(2**60), 2**53 + 1, -0.0,
    Code("a"), Code("b"), Code("a", {"b": 1}), Decimal128("Infinity"),
]  # fmt: skip
ids = st.one_of(
    st.sampled_from(ODD),
    st.integers(-50, 400),
    st.integers(-50, 400).map(lambda i: i + 0.5),
    st.integers(0, 300).map(lambda i: f"s{i}"),
    st.integers(0, 300).map(lambda i: ObjectId(f"{i:024x}")),
    st.integers(0, 300).map(lambda i: {"unit": i % 7, "t": i}),
)
values = st.one_of(
    st.sampled_from(ODD),
    st.integers(0, 3),
    st.sampled_from([1.0, Int64(1), Decimal128("1"), Regex("a"), Regex("b"), DBRef("a", 1)]),
)
seconds = st.one_of(st.sampled_from([each for each in ODD if not isinstance(each, Code)]), st.integers(0, 5))


@st.composite
def collections(draw):
    """Documents with different ids; most of them of ids of one or two kinds, so that there are chunks."""
    random = draw(st.randoms(use_true_random=False))
    some = draw(st.lists(ids, max_size=40))
    many = random.choice([[], range(150), [f"t{i:03}" for i in range(100)], [i / 4 for i in range(100)]])
    firsts, others = draw(st.lists(values, min_size=1, max_size=6)), draw(st.lists(seconds, min_size=1, max_size=4))
    documents = {}
    for value in [*some, *many]:
        document = {"_id": value, "u": random.choice(firsts), "t": random.choice(others)}
        for name in ("u", "t"):
            if random.random() < 0.05:
                del document[name]
        documents.setdefault(_name(value), document)
    return list(documents.values())


def _name(value):
    """A name that ids have in common that are one to the server."""
    if isinstance(value, Decimal128) and value.to_decimal().is_nan():
        value = math.nan
    if isinstance(value, Decimal128):
        value = float(value.to_decimal())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return bson.encode({"": value})
    return value if value == value else "nan"  # noqa: PLR0124 - NaN


def store(hub, documents, *, clustered=False):
    hub.db["rows"].drop()
    if clustered:
        hub.db.create_collection("rows", clusteredIndex={"key": {"_id": 1}, "unique": True})
    if documents:
        hub.db["rows"].insert_many(documents)


def finder(hub):
    def find(query):
        with RawReader(hub._connection, hub.db.name, "rows", find=query) as reader:
            yield from reader

    return find


def read(hub, bounds, match=None):
    """The ids in each chunk, in order."""
    lows = bounds.all()
    found = []
    for chunk in range(len(lows)):
        low, high = bounds.of(chunk)
        query = bounds.key.rows(low, high)
        rows = hub.db["rows"].find(
            {"$and": [match, query]} if match else query, sort=list(bounds.key.exact_sort.items())
        )
        found.append([_bytes(each["_id"]) for each in rows])
    return found


def _bytes(value):
    return bson.encode({"": value})


def _undivided(document, fields):
    """What documents have in common that no bound can lie between; no query compares regular expressions."""
    if isinstance(document.get(fields[0]), Regex):
        return "regex"
    return _bytes([document.get(name) for name in fields])


shapes = st.sampled_from([("_id",), ("u", "_id"), ("u", "t", "_id"), ("u", "t"), ("u",)])
fixture = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def check(hub, documents, fields, most, match, *, at_once=False):
    bounds = Bounds(Key(fields), most, finder(hub), match=match, at_once=at_once)
    found = read(hub, bounds, match)
    rows = hub.db["rows"].find(match or {}, sort=[(name, 1) for name in dict.fromkeys([*fields, "_id"])])
    expected = [_bytes(each["_id"]) for each in rows]
    assert [each for chunk in found for each in chunk] == expected, "each once, in the order of the key"
    alike = Counter(_undivided(each, fields) for each in documents)
    assert all(len(chunk) <= max(most, 64) + max(alike.values()) for chunk in found)
    again = Bounds(Key(fields), most, finder(hub), match=match, at_once=at_once)
    for chunk in range(len(found) + 1):  # asked for one by one, they are the same
        assert again.of(chunk) == bounds.of(chunk) or _bytes(again.of(chunk)) == _bytes(bounds.of(chunk))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=fixture)
@given(collections(), shapes, st.sampled_from([8, 64]), st.booleans(), st.booleans())
def test_every_document_lies_in_one_chunk(hub, documents, fields, most, indexed, matched):
    store(hub, documents)
    if indexed and fields != ("_id",):
        hub.db["rows"].create_index([(name, 1) for name in fields])
    check(hub, documents, fields, most, {"t": {"$ne": 2}} if matched else None)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=fixture)
@given(collections(), st.sampled_from([8, 64]))
def test_every_document_of_a_clustered_collection_lies_in_one_chunk(hub, documents, most):
    store(hub, documents, clustered=True)
    check(hub, documents, ("_id",), most, None)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=fixture)
@given(collections(), st.sampled_from([8, 64]))
def test_bounds_that_are_read_at_once_are_as_good(hub, documents, most):
    store(hub, documents)
    check(hub, documents, ("_id",), most, {"t": {"$ne": 2}}, at_once=True)


@pytest.mark.soak
@settings(max_examples=400, deadline=None, suppress_health_check=fixture)
@given(
    collections(),
    shapes,
    st.tuples(st.sampled_from([8, 64]), st.sampled_from(["", "index", "clustered"]), st.booleans(), st.booleans()),
)
def test_every_document_lies_in_one_chunk_at_length(hub, documents, fields, how):
    most, kind, matched, at_once = how
    store(hub, documents, clustered=kind == "clustered")
    if kind == "index" and fields != ("_id",):
        hub.db["rows"].create_index([(name, 1) for name in fields])
    check(hub, documents, fields, most, {"t": {"$ne": 2}} if matched else None, at_once=at_once and fields == ("_id",))


def test_more_rows_than_a_chunk_has_may_be_alike(hub):
    documents = [
        {"_id": i, "u": value} for i, value in enumerate([math.nan] * 200 + [True] * 200 + [1] * 200 + ["a"] * 5)
    ]
    store(hub, documents)
    bounds = Bounds(Key(("u",)), 64, finder(hub))
    assert [len(chunk) for chunk in read(hub, bounds)] == [200, 200, 5, 200]
