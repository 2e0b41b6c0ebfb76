"""Tables for the tests of the cache: any process can make the same ones."""

from __future__ import annotations

import warnings

import bson
import numpy as np

from nemesyst.feed.cache import Cache, CacheWarning
from nemesyst.feed.table import Table

KEY = "00c0ffee" * 4
ABOUT = {"collection": "telemetry"}
ROWS = 200
GB = 10**9


def table(chunk, rows=ROWS):
    """The rows of a chunk: numbers, images, dates, flags, texts and objects."""
    random = np.random.default_rng(chunk)
    places = np.arange(rows) + chunk * rows
    return Table(
        {
            "x": random.random((rows, 3)).astype(np.float32),
            "image": random.integers(0, 255, (rows, 4, 4), dtype=np.uint8),
            "#part": random.integers(0, 3, rows).astype(np.int8),
            "#on": places.astype("datetime64[ms]"),
            "good": places % 3 == 0,
            "mode": np.array([f"mode {n % 7} für {chunk}" for n in places], "<U25"),
            "id": as_objects([bson.ObjectId(f"{n:024x}") for n in places]),
            "list": as_objects([[int(n % 5), "a"] for n in places]),
        }
    )


def as_objects(values):
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    return objects


def assert_same(found, expected):
    """Arrays of the same names, order, dtype, shape and values."""
    assert list(found.arrays) == list(expected.arrays)
    for name, values in expected.arrays.items():
        assert found.arrays[name].dtype == values.dtype, name
        assert found.arrays[name].shape == values.shape, name
        assert found.arrays[name].tolist() == values.tolist(), name


def open_entry(folder, limit=GB, key=KEY, about=ABOUT):
    return Cache(folder, limit).entry(key, about)


def store(entry, chunks):
    """Put chunks that are not there."""
    for chunk in chunks:
        if entry.get(chunk) is None:
            entry.put(chunk, table(chunk))


def put_all(folder, chunks):
    """Put chunks, without a warning; what a process of a test does."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        with open_entry(folder) as entry:
            for chunk in chunks:
                entry.put(chunk, table(chunk))


def check_all(folder, chunks, key=KEY):
    """Read chunks, and fail unless each is there and right; what a process of a test does."""
    with open_entry(folder, key=key) as entry:
        for chunk in chunks:
            assert_same(entry.get(chunk), table(chunk))
