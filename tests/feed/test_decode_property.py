"""Any documents decode to what the plain reference gives."""

import importlib.util
import uuid
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import bson
import numpy as np
import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from nemesyst.database import pack
from nemesyst.errors import FieldError, NemesystError, RecordError
from nemesyst.feed.decode import Decoder

spec = importlib.util.spec_from_file_location("decode_reference", Path(__file__).with_name("decode_reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
pytestmark = pytest.mark.core

EPOCH = datetime(1970, 1, 1)
int32, int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1).map(bson.Int64)
doubles = st.floats()
dates = st.integers(-(10**13), 10**13).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9).map(lambda t: t.rstrip("\0"))
numbers = int32 | int64 | doubles | st.booleans()
arrays = st.sampled_from(["uint8", "float32", "int16", "bool", "datetime64[s]"]).flatmap(
    lambda dtype: st.sampled_from([(2, 3), (1,), (4,), (2, 1, 2)]).map(lambda shape: pack(np.ones(shape, dtype)))
)
others = st.sampled_from(
    [bson.ObjectId(b"x" * 12), b"bytes", Binary(b"ab", 128), uuid.UUID(int=7), bson.Regex("a+", "i"), bson.Timestamp(5, 6), {"k": 1}, {}, bson.MaxKey()]
)  # fmt: skip
lists = st.lists(numbers, max_size=3) | st.lists(st.lists(doubles, min_size=2, max_size=2), min_size=1, max_size=2)
kinds = [int32, int32 | int64, numbers, doubles, st.booleans(), dates, texts, arrays, others, lists]
names = ["a", "b", "unit", "a long name of a field", "größe", "température", "n", "x.y", ""]


@st.composite
def documents(draw):
    """Up to 80 documents with fields in common, of kinds that mostly stay; some absent, null, odd or elsewhere."""
    fields = draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True))
    kind = {name: draw(st.sampled_from(kinds)) for name in [*fields, "sub"]}
    anything = st.one_of(st.none(), *kinds)

    def one():
        order = draw(st.permutations(fields)) if draw(st.booleans()) else fields
        found = {
            name: draw(kind[name] if draw(st.integers(0, 9)) else anything) for name in order if draw(st.integers(0, 9))
        }
        if draw(st.booleans()):
            found["n"] = draw(st.fixed_dictionaries({"m": kind["sub"]}, optional={"o": numbers}))
        return found

    templates = [one() for _ in range(draw(st.integers(1, 6)))]
    picks = draw(st.lists(st.sampled_from(templates), min_size=1, max_size=80))
    return [{"_id": i, **document} for i, document in enumerate(picks)]


@given(documents())
@settings(max_examples=60, deadline=None)
def test_every_field_is_as_the_reference_has_it(rows):
    columns = reference.decoded(rows)
    seen = dict.fromkeys(name for row in rows for name in row)
    assert columns.names == list(seen)
    for name in seen:
        if "." not in name:
            reference.check(columns, rows, name)


@given(documents())
@settings(max_examples=60, deadline=None)
def test_named_and_nested_fields_are_as_the_reference_has_them(rows):
    asked = ["n.m", "unit", "x.y", "nowhere", "n.o", "größe", "n.m.dtype"]
    columns = reference.decoded(rows, asked)
    assert columns.names == asked
    for name in asked:
        reference.check(columns, rows, name)
    assert columns.ids() == [row["_id"] for row in rows]


@given(documents(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_decoder_gives_the_same_for_any_split_into_batches(rows, data):
    cuts = sorted({0, len(rows), *data.draw(st.lists(st.integers(0, len(rows)), max_size=3))})
    decoder = Decoder(["a", "unit", "n.m"])
    for first, last in pairwise(cuts):
        columns = decoder.decode(reference.batch_of(rows[first:last]))
        for name in ("a", "unit", "n.m"):
            reference.check(columns, rows[first:last], name)


@given(st.lists(st.fixed_dictionaries({"a": numbers, "b": numbers, "c": doubles}), min_size=1, max_size=80))
@settings(max_examples=40, deadline=None)
def test_stacked_numbers_are_the_columns_as_float32(rows):
    columns = reference.decoded(rows)
    wide = np.stack([columns.column(name).values.astype(np.float64) for name in "cab"], axis=1)
    with np.errstate(all="ignore"):
        narrow = wide.astype(np.float32)
    if (np.isinf(narrow) & np.isfinite(wide)).any():
        with pytest.raises(FieldError, match="too large for float32"):
            columns.stack(["c", "a", "b"])
        return
    stacked = columns.stack(["c", "a", "b"])
    assert stacked.dtype == np.float32
    assert stacked.flags.c_contiguous
    np.testing.assert_array_equal(stacked, narrow)


def try_all(batch):
    """Decode everything; only our own errors may come out of it."""
    try:
        columns = Decoder(None).decode(batch)
        for name in columns.names:
            columns.column(name)
        columns.ids()
    except NemesystError:
        pass


@given(documents(), st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_are_decoded_or_refused_and_never_crash(rows, data):
    batch = bytearray(reference.batch_of(rows))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(batch) - 1))
        batch[place] = data.draw(st.sampled_from([0, 1, 3, 4, 255, batch[place] ^ 1, batch[place] ^ 128]))
    try_all(bytes(batch))


@given(st.lists(st.lists(int32 | doubles, min_size=20, max_size=20), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_lists_are_decoded_as_by_bson_or_refused(values, data):
    rows = [{"v": values[i % len(values)]} for i in range(20)]
    reference.check(reference.decoded(rows), rows, "v")
    batch = bytearray(reference.batch_of(rows))
    place = data.draw(st.integers(0, len(batch) - 1))
    batch[place] = data.draw(st.sampled_from([0, 1, 16, 18, 255, batch[place] ^ 1, batch[place] ^ 64]))
    try_all(bytes(batch))


@given(documents(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_truncated_batch_is_refused(rows, data):
    batch = reference.batch_of(rows)
    cut = batch[: data.draw(st.integers(0, len(batch) - 1))]
    with pytest.raises(RecordError, match="damaged"):
        Decoder(None).decode(cut)
    try_all(len(cut).to_bytes(4, "little") + cut[4:])  # the same with a length that says so
