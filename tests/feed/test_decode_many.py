"""Many documents of many layouts: found in lanes, walked together, and right where that goes wrong."""

import importlib.util
from pathlib import Path

import bson
import numpy as np
import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from nemesyst.errors import FieldError, NemesystError, RecordError
from nemesyst.feed.decode import Decoder
from nemesyst.feed.decode.frame import frame

spec = importlib.util.spec_from_file_location("decode_reference", Path(__file__).with_name("decode_reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
batch_of, decoded = reference.batch_of, reference.decoded
pytestmark = pytest.mark.core


def found_in(batch):
    found = frame(batch)
    return [bson.decode(found.document(row))["_id"] for row in range(found.rows)]


@given(
    st.integers(1400, 12_000),
    st.sampled_from(["", "short", "lists of documents", "keys in binaries", "some large"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_documents_of_any_lengths_are_all_found(rows, what, seed):
    sizes = np.random.default_rng(seed).integers(0, 30, rows).tolist()
    contents = {
        "": lambda size: {"s": "x" * size},
        "short": lambda size: {"s": None} if size % 2 else {},
        "lists of documents": lambda size: {"s": [{"a": k} for k in range(size)]},
        "keys in binaries": lambda size: {"s": Binary(b"\0\x03%d\0" % (size * 400 + 7) * (size % 3))},
        "some large": lambda size: {"s": "x" * (20_000 if size == 7 else size)},
    }
    documents = [{"_id": i, **contents[what](size)} for i, size in enumerate(sizes)]
    assert found_in(batch_of(documents)) == list(range(rows))


@pytest.mark.parametrize("length", [-1, 0, 4, 1 << 20, (1 << 31) - 1])
def test_a_damaged_length_among_many_documents_is_refused(length):
    batch = bytearray(batch_of([{"_id": i, "s": "x" * (i % 7)} for i in range(5000)]))
    start = frame(bytes(batch)).starts[3210]
    batch[start : start + 4] = (length & 0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(RecordError, match="damaged"):
        Decoder(None).decode(bytes(batch)).column("s")


def values_of(random, kind):
    return {
        "number": lambda: random.choice([1, 2.5, bson.Int64(2**40), True, 7.0]),
        "whole": lambda: random.choice([1, bson.Int64(2**60 + 1), -3]),
        "flag": lambda: bool(random.integers(2)),
        "text": lambda: random.choice(["on", "off", "größe", ""]),
    }[kind]


@given(st.integers(33, 400), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.45, 0.6, 0.95]))
@settings(max_examples=40, deadline=None)
def test_any_mixture_of_types_gaps_and_orders_is_as_the_reference_has_it(count, seed, odds):
    random = np.random.default_rng(seed)
    kinds = {"a": "number", "b": "whole", "c": "flag", "d": "text", "a long name of a field": "number"}

    def one(i):
        names = [name for name in kinds if random.random() >= odds]
        if random.random() < 0.1:
            random.shuffle(names)
        row = {name: None if random.random() < odds / 4 else values_of(random, kinds[name])() for name in names}
        row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        return {"_id": i, **row, **({"sub": {"a": 1.5, "b": i}} if random.random() < 0.7 else {})}

    rows = [one(i) for i in range(count)]
    columns = decoded(rows, [*kinds, "sub.a", "sub.b"])
    for name in [*kinds, "sub.a", "sub.b"]:
        reference.check(columns, rows, name)


def test_a_key_that_most_rows_have_twice_counts_by_its_last_value():
    def twice(i):
        body = bson.encode({"a": i, "b": i / 2, "c": 2 * i, "s": "x" * (i % 5)})[4:-1]
        body = body.replace(b"\x10c\0", b"\x10a\0") if i % 4 else body
        return (len(body) + 5).to_bytes(4, "little") + body + b"\0"

    for names in (["a", "b"], None):
        found = decoded([twice(i) for i in range(300)], names).column("a").values
        assert found.tolist() == [2 * i if i % 4 else i for i in range(300)]


@pytest.mark.parametrize("rows", [1, 3, 40, 3000])
@pytest.mark.parametrize("value", [1e300, -3.5e38, 2**200 * 1.0])
def test_a_number_too_large_for_float32_is_refused_naming_field_document_and_value(rows, value):
    documents = [{"_id": i, "v": 1.5 if i % 2 else 3.4e38, "w": i if i % 3 else 0.5} for i in range(rows)]
    documents[rows // 2]["v"] = value
    with pytest.raises(FieldError, match=rf"field v holds {value:g} in document {rows // 2}, which is too large".replace("+", r"\+")):  # fmt: skip
        decoded(documents, ["v", "w"]).stack(["v", "w"])
    assert decoded(documents, ["v"]).stack(["v"], np.float64)[rows // 2, 0] == value


def test_a_number_too_large_in_a_list_is_refused_and_infinity_is_not():
    for rows in (4, 50):
        documents = [{"_id": i, "v": [1.0, float("inf"), float("nan")]} for i in range(rows)]
        assert np.isinf(decoded(documents, ["v"]).stack(["v"])[:, 1]).all()
        for bad in ([1.0, 1e39, 0.0], [1, 1e39, bson.Int64(5)]):
            documents[rows - 1]["v"] = bad
            with pytest.raises(FieldError, match=rf"field v holds 1e\+39 in document {rows - 1}"):
                decoded(documents, ["v"]).stack(["v"])


def test_a_number_in_place_of_a_missing_one_may_be_as_large_as_it_likes():
    documents = [{"_id": i, **({"v": 0.5} if i % 2 else {})} for i in range(50)]
    assert np.isinf(decoded(documents, ["v"]).stack(["v"], fill=1e300)[::2]).all()


@pytest.mark.parametrize("rows", [1, 100])
def test_a_dotted_name_into_a_list_is_refused_with_what_to_do(rows):
    documents = [{"_id": i, "a": {"b": i}} for i in range(rows)]
    documents[rows // 2]["a"] = [{"b": 1}, {"b": 2}]
    columns = decoded(documents, ["a.b"])
    for ask in (columns.column, columns.missing, lambda name: columns.stack([name], fill=0.0)):
        with pytest.raises(FieldError, match=rf"field a.b: a is a list in document {rows // 2}, and dotted") as error:
            ask("a.b")
        assert "{'$unwind': '$a'}" in error.value.remedy
        assert "{'$arrayElemAt': ['$a.b', 0]}" in error.value.remedy


def test_a_place_in_a_list_is_refused_with_the_expression_that_takes_it():
    with pytest.raises(FieldError, match="field a.2: a is a list in document 0") as error:
        decoded([{"_id": 0, "a": [1, 2, 3]}], ["a.2"]).column("a.2")
    assert "{'$arrayElemAt': ['$a', 2]}" in error.value.remedy


numbers = st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**63), 2**63 - 1).map(bson.Int64) | st.floats()
things = numbers | st.none() | st.just("x") | st.lists(numbers, max_size=2)


@st.composite
def listed(draw):
    """Lists: alike but for a few, which are ragged, empty, nested, or hold nulls and texts."""
    length = draw(st.integers(0, 30))
    alike = st.lists(draw(st.sampled_from([st.floats(), numbers])), min_size=length, max_size=length)
    templates = draw(st.lists(alike, min_size=1, max_size=4))
    if draw(st.booleans()):
        templates.append(draw(st.lists(things, max_size=30)))
    picks = draw(st.lists(st.sampled_from(templates), min_size=1, max_size=60))
    return [{"_id": i, "v": value} for i, value in enumerate(picks)]


@given(listed())
@settings(max_examples=80, deadline=None)
def test_lists_of_any_numbers_are_as_the_reference_has_them(rows):
    reference.check(decoded(rows, ["v"]), rows, "v")


@given(st.integers(1, 40), st.sampled_from([b"0", b"7", b"01", b"x"]), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_lists_whose_keys_do_not_count_are_read_in_order_as_by_bson(rows, key, length):
    def one(i):
        body = b"".join(b"\x01" + (key if k == length // 2 else b"%d" % k) + b"\0" + np.float64(k + i).tobytes() for k in range(length))  # fmt: skip
        value = (len(body) + 5).to_bytes(4, "little") + body + b"\0"
        document = b"\x10_id\0" + i.to_bytes(4, "little") + b"\x04v\0" + value
        return (len(document) + 5).to_bytes(4, "little") + document + b"\0"

    documents = [one(i) for i in range(rows)]
    found = decoded(documents, ["v"]).column("v").values
    np.testing.assert_array_equal(found, [bson.decode(document)["v"] for document in documents])


def test_a_list_of_a_hundred_thousand_numbers_is_read():
    values = np.random.default_rng(0).random((3, 100_000))
    rows = [{"_id": i, "v": each.tolist()} for i, each in enumerate(values)]
    np.testing.assert_array_equal(decoded(rows, ["v"]).stack(["v"]), values.astype(np.float32))


@given(st.integers(1500, 2500), st.data())
@settings(max_examples=30, deadline=None)
def test_damage_among_many_documents_is_decoded_or_refused(rows, data):
    batch = bytearray(batch_of([{"_id": i, "a": i / 2 if i % 3 else i, "s": "x" * (i % 7)} for i in range(rows)]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(batch) - 1))
        batch[place] = data.draw(st.sampled_from([0, 1, 3, 255, batch[place] ^ 1, batch[place] ^ 128]))
    try:
        columns = Decoder(["a", "s"]).decode(bytes(batch))
        columns.column("a")
        columns.column("s")
        columns.stack(["a"], fill=0.0)
    except NemesystError:
        pass
