"""Bounds are the same however they are found: by walking, by several threads, and in reading."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import bson
import numpy as np
import pytest
from bson import ObjectId, decode

from nemesyst.database import RawReader
from nemesyst.feed.decode.frame import frame
from nemesyst.feed.plan import Bounds, Key
from nemesyst.feed.plan.key import EXACT
from nemesyst.feed.plan.stretch import Read

pytestmark = [pytest.mark.core, pytest.mark.slow]

MOST = 16
TIME = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {
    "numbers": range(1500),
    "in bursts": [burst * 10**9 + i for burst in range(5) for i in range(250)],
    "with one far away": [*range(900), 10**15],
    "nearly all at the end": [*range(200), *range(10**9, 10**9 + 900)],
    "real numbers": [i / 7 for i in range(900)],
    "ids of the server": [ObjectId(f"{6 * 10**7 + i // 40:08x}{i * 7919 % 2**40:010x}{i:06x}") for i in range(1200)],
    "times": [TIME + timedelta(seconds=i) for i in range(900)],
    "texts": [f"unit-{i:04}" for i in range(1200)],
    "devices": [{"unit": i // 30, "t": i % 30} for i in range(1200)],
    "three devices": [{"unit": f"u{i // 400}", "t": TIME + timedelta(seconds=i % 400)} for i in range(1200)],
    "one device": [{"unit": 1, "t": i} for i in range(1200)],
    "one type after another": [
        None,
        *range(600),
        *(f"{i:03}" for i in range(600)),
        *(ObjectId(f"{i:024x}") for i in range(600)),
        True,
    ],
    "few": range(40),
    "none": [],
}


def store(hub, documents, *, clustered=False):
    if clustered:
        hub.db.create_collection("rows", clusteredIndex={"key": {"_id": 1}, "unique": True})
    if documents:
        hub.db["rows"].insert_many(documents)


def finder(hub):
    def find(query):
        with RawReader(hub._connection, hub.db.name, "rows", find=query) as found:
            yield from found

    return find


def reader(hub, key):
    """Reads rows from a point on, and one more."""
    find = finder(hub)

    def read(low, high, rows):
        query = {"filter": key.rows(low, high), "sort": key.sort, "limit": rows + 1}
        found = [
            decode(here.document(row), EXACT)
            for raw in find(query)
            for here in [frame(raw)]
            for row in range(here.rows)
        ]
        bounds = [key.of(each) for each in found]
        following = bounds[rows] if len(found) > rows else None
        return Read([each["_id"] for each in found[:rows]], bounds[0] if bounds else None, following)

    return read


def ids(hub, query):
    rows = hub.db["rows"].with_options(codec_options=EXACT)
    return [row["_id"] for row in rows.find(query, sort=[("_id", 1)])]


def same(one, other):
    return bson.encode({"": [list(bound) for bound in one]}) == bson.encode({"": [list(bound) for bound in other]})


@pytest.fixture(params=KEYS)
def keys(request):
    return list(KEYS[request.param])


@pytest.fixture(params=[False, True], ids=["index", "clustered"])
def collection(request, hub, keys):
    order = np.random.default_rng(0).permutation(len(keys))
    store(hub, [{"_id": keys[i], "x": float(i)} for i in order], clustered=request.param)
    return hub


def walked(hub):
    bounds = Bounds(Key(), MOST, finder(hub))
    chunk = 0
    while bounds.of(chunk) is not None:
        chunk += 1
    return bounds


def test_all_ways_give_the_same_bounds(collection):
    expected = walked(collection).all()
    assert same(Bounds(Key(), MOST, finder(collection)).all(), expected)
    beside = Bounds(Key(), MOST, finder(collection))
    beside.walk()
    assert same(beside.all(), expected)
    learnt = Bounds(Key(), MOST, finder(collection))
    read, chunk = reader(collection, Key()), 0
    while learnt.learn(chunk, read) is not None or learnt.of(chunk) is not None:
        chunk += 1
    assert same(learnt.all(), expected)


def test_rows_that_are_read_by_several_threads_come_once_in_order(collection, keys):
    bounds, read = Bounds(Key(), MOST, finder(collection)), reader(collection, Key())

    def rows(chunk):
        found = bounds.learn(chunk, read)
        if found is None:
            ends = bounds.of(chunk)
            found = [] if ends is None else ids(collection, Key().rows(*ends))
        return found

    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(rows, range(len(walked(collection).all()) + 6)))
    inserted = ids(collection, {})
    assert [row for chunk in found for row in chunk] == inserted
    assert len(inserted) == len(keys)
    assert all(len(chunk) <= MOST for chunk in found)


def test_chunks_are_full_but_for_the_last_of_each_stretch(hub):
    store(hub, [{"_id": i} for i in range(4000)])
    bounds = walked(hub)
    sizes = [high[0] - low[0] for low, high in map(bounds.of, range(len(bounds.all()) - 1))]
    assert sizes.count(MOST) > 0.7 * len(sizes)


def test_rows_that_nobody_asked_for_are_let_go(hub):
    store(hub, [{"_id": i} for i in range(1000)])
    bounds, read = Bounds(Key(), MOST, finder(hub)), reader(hub, Key())
    first = bounds.learn(0, read)
    held = [bounds.learn(chunk, read) for chunk in range(1, 6)]
    bounds.drop()
    assert [row for rows in [first, *held] for row in rows or ()] == list(range(MOST * 6))
    assert bounds.of(6) == ((96,), (112,))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_feed_in_stretches_gives_each_row_once_and_the_stored_plan_gives_the_same(collection, keys, shuffle):
    def feed():
        made = collection.feed("rows", inputs="x", batch_size=50, shuffle=shuffle, cache=False)
        binding = made._family.binding
        binding.most = binding.chunks.source.rows.bounds.most = MOST
        return made

    if not keys:
        return
    first = feed()
    found = [identity for some, _ in first.with_ids() for identity in some]
    again = [identity for some, _ in feed().with_ids() for identity in some]
    assert again == found
    expected = [row["_id"] for row in collection.db["rows"].find(sort=[("_id", 1)])]
    if shuffle:
        assert len(found) == len(expected)
        assert all(identity in expected for identity in found[:50])
        assert sorted(map(repr, found)) == sorted(map(repr, expected))
    else:
        assert found == expected
