"""The decoder: bytes of a reply into columns, exactly, with an error that says where."""

import importlib.util
from datetime import datetime
from pathlib import Path

import bson
import numpy as np
import pytest
from bson.binary import Binary, BinaryVectorDtype
from bson.decimal128 import Decimal128

from nemesyst.database import pack
from nemesyst.errors import FieldError, RecordError
from nemesyst.feed.columns import column as batch_columns
from nemesyst.feed.decode import Decoder

spec = importlib.util.spec_from_file_location("decode_reference", Path(__file__).with_name("decode_reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
batch_of, decoded = reference.batch_of, reference.decoded
pytestmark = pytest.mark.core

RANDOM = np.random.default_rng(0)


def column(values, **kwargs):
    return decoded([{"_id": i, "v": value} for i, value in enumerate(values)], ["v"]).column("v", **kwargs)


def test_whole_numbers_beyond_two_to_the_53_stay_exact():
    values = [2**53 + 1, -(2**63), 2**63 - 1, 5]
    found = column(values * 20).values
    assert found.dtype == np.int64
    assert found.tolist() == values * 20


def test_whole_numbers_among_doubles_become_float64():
    found = column([30, 30.5, bson.Int64(7), float("inf")] * 20).values
    assert found.dtype == np.float64
    assert found.tolist() == [30, 30.5, 7, float("inf")] * 20


def test_dates_before_1970_keep_their_milliseconds():
    found = column([datetime(1899, 12, 31, 23, 59, 59, 999000), datetime(2026, 1, 1)]).values
    assert found.dtype == np.dtype("datetime64[ms]")
    assert found.astype(str).tolist() == ["1899-12-31T23:59:59.999", "2026-01-01T00:00:00.000"]


@pytest.mark.parametrize("text", ["1.25", "-0.1", "1E+30", "9007199254740993", "12345678901234567890.123", "NaN", "-Infinity", "0E-6176"])  # fmt: skip
def test_decimals_become_the_nearest_float64(text):
    np.testing.assert_array_equal(column([Decimal128(text)] * 3).values, [float(text)] * 3)


def test_decimals_stand_among_other_numbers():
    assert column([Decimal128("0.1"), 2, 0.5, Decimal128("-7")]).values.tolist() == [0.1, 2, 0.5, -7]


@pytest.mark.parametrize("many", [1, 40])
def test_texts_of_several_alphabets_are_as_wide_as_the_longest(many):
    found = column(["", "on", "größe", "日本", "a" * 6] * many).values
    assert found.dtype == np.dtype("<U6")
    assert found.tolist() == ["", "on", "größe", "日本", "a" * 6] * many


def test_long_texts_are_kept_whole():
    assert column(["x" * 100_000, "y"]).values.tolist() == ["x" * 100_000, "y"]


def test_missing_and_null_are_told_apart_and_filled_by_dtype():
    rows = [{"f": 1.5, "i": 7, "t": "a"}, {"f": None, "i": None}, {}] * 30
    columns = decoded(rows, ["f", "i", "t"]).columns
    np.testing.assert_array_equal(columns["f"].values[:3], [1.5, np.nan, np.nan])
    assert columns["i"].values[:3].tolist() == [7, 0, 0]
    assert columns["t"].values[:3].tolist() == ["a", "", ""]
    assert columns["f"].missing[:3].tolist() == [False, True, True]
    assert columns["f"].null[:3].tolist() == [False, True, False]


def test_a_field_that_no_row_has_is_missing_everywhere():
    found = decoded([{"a": 1}] * 3, ["b"]).column("b")
    assert np.isnan(found.values).all()
    assert found.missing.all()


@pytest.mark.parametrize("many", [1, 50])
def test_names_come_in_order_of_first_appearance(many):
    rows = [{"b": 1}, {"a": 1, "b": 2}, {"c": 3, "a": 1}] * many
    assert decoded(rows).names == ["b", "a", "c"]


def test_an_empty_batch_has_no_rows():
    columns = decoded([], ["a"])
    assert (columns.rows, columns.column("a").values.shape, columns.ids()) == (0, (0,), [])
    assert columns.stack(["a"]).shape == (0, 1)
    assert decoded([]).columns == {}


@pytest.mark.parametrize("rows", [1, 9, 10, 11, 99, 100, 101, 999, 1000, 1001, 10_001])
def test_any_number_of_documents_of_one_layout_is_read(rows):
    columns = decoded([{"_id": i, "v": i / 2} for i in range(rows)])
    np.testing.assert_array_equal(columns.column("v").values, np.arange(rows) / 2)
    assert columns.ids() == list(range(rows))


def test_one_row_of_another_layout_and_the_same_length_is_found():
    rows = [{"a": 1.0, "b": i} for i in range(2000)]
    rows[1234] = {"b": 1.0, "a": 7}
    columns = decoded(rows, ["a", "b"])
    assert (columns.column("a").values[1234], columns.column("b").values[1234]) == (7, 1)
    assert columns.column("a").values.sum() == 1999 + 7


def test_the_last_of_two_values_under_one_key_counts():
    twice = bson.encode({"a": 1, "b": 2})[4:-1].replace(b"b", b"a")
    document = (len(twice) + 5).to_bytes(4, "little") + twice + b"\0"
    for rows in ([document] * 3, [document] * 100, [document] * 100 + [bson.encode({"a": 2.0})]):
        assert set(decoded(rows, ["a"]).column("a").values) == {2}


def test_packed_arrays_keep_dtype_and_shape_in_documents_of_one_and_of_many_lengths():
    images = RANDOM.integers(0, 255, (300, 8, 8), "uint8")
    even = [{"image": pack(image)} for image in images]
    uneven = [{"name": "x" * (i % 5), **row} for i, row in enumerate(even)]
    for rows in (even, uneven):
        found = decoded(rows, ["image"]).column("image").values
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize(
    ("vector", "values"),
    [
        (Binary.from_vector([1.5, -2.0], BinaryVectorDtype.FLOAT32), np.array([1.5, -2], "float32")),
        (Binary.from_vector([1, -2, 3], BinaryVectorDtype.INT8), np.array([1, -2, 3], "int8")),
        (Binary.from_vector([0b10100000], BinaryVectorDtype.PACKED_BIT, 4), np.array([1, 0, 1, 0], "bool")),
    ],
)
def test_binary_vectors_keep_their_dtype(vector, values):
    found = column([vector] * 50).values
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, [values] * 50)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 101, 784, 1003])
@pytest.mark.parametrize("rows", [1, 40])
def test_lists_of_doubles_become_rows(length, rows):
    values = RANDOM.random((rows, length))
    columns = decoded([{"v": value.tolist()} for value in values], ["v"])
    np.testing.assert_array_equal(columns.column("v").values, values)
    np.testing.assert_array_equal(columns.stack(["v"]), values.astype(np.float32))


def test_lists_of_lists_become_rows_of_several_axes():
    values = RANDOM.random((30, 28, 28))
    np.testing.assert_array_equal(column(values.tolist()).values, values)


@pytest.mark.parametrize("rows", [3, 20, 300])
@pytest.mark.parametrize("length", [1, 12, 110])
def test_lists_may_mix_number_types_from_row_to_row(rows, length):
    values = [[int(x) if x < 3 else float(x) for x in RANDOM.random(length) * 6] for _ in range(rows)]
    np.testing.assert_array_equal(column(values).values, np.array(values, np.float64))


@pytest.mark.parametrize("rows", [4, 300])
def test_a_ragged_list_is_refused_naming_field_and_document(rows):
    values = [[1.0, 2.0]] * rows
    values[rows // 2] = [1.0]
    with pytest.raises(FieldError, match=rf"field v: document 0 holds float64 \(2,\), and document {rows // 2} holds"):
        column(values)


def test_mixed_kinds_are_refused_naming_field_and_document():
    with pytest.raises(FieldError, match="field v: document 0 holds 1, and document 1 holds 'one': kinds differ"):
        column([1, "one"])


def test_packed_arrays_whose_bytes_do_not_fit_their_shape_are_refused():
    one, other = ({"dtype": "uint8", "shape": [6], "data": bytes(n)} for n in (5, 7))
    for values in ([one, other], [{**one, "data": bytes(6)}, other]):
        with pytest.raises(RecordError, match="packed array cannot be read"):
            column(values)


def test_object_ids_stay_objects():
    ids = [bson.ObjectId() for _ in range(50)]
    assert decoded([{"_id": each} for each in ids]).column("_id").values.tolist() == ids


def test_stacking_refuses_missing_values_unless_it_is_told_what_stands_for_them():
    columns = decoded([{"_id": i, "a": i, **({"b": 1.5} if i % 2 else {})} for i in range(40)], ["a", "b"])
    with pytest.raises(FieldError, match=r"field b is missing in document 0 \(20 of 40 rows here\)"):
        columns.stack(["a", "b"])
    np.testing.assert_array_equal(columns.stack(["b", "a"], fill=-1)[:2], [[-1, 0], [1.5, 1]])


@pytest.mark.parametrize("gap", [{}, {"b": None}])
def test_a_missing_value_is_told_in_the_words_of_the_reference(gap):
    rows = [{"_id": 0, "b": 1}, {"_id": 1, "beta": 2, **gap}, {"_id": 2}] * 20
    with pytest.raises(FieldError) as ours:
        decoded(rows, ["b"]).stack(["b"])
    with pytest.raises(FieldError) as theirs:
        batch_columns(rows, "b")
    assert str(ours.value) == str(theirs.value)


def test_stacking_refuses_what_is_no_number():
    columns = decoded([{"a": 1, "s": "x"}])
    with pytest.raises(FieldError, match="field s holds texts, which cannot be stacked into numbers"):
        columns.stack(["a", "s"])


def test_a_float_does_not_depend_on_the_types_of_its_neighbours():
    big = 2**62 + 2**38 + 1  # float32 by way of float64 rounds down, directly it rounds up
    alone, among = column([bson.Int64(big)] * 40), [bson.Int64(big), 0.5] * 20
    rows = [{"v": value} for value in among]
    assert decoded(rows, ["v"]).stack(["v"])[0, 0] == np.float32(np.float64(big))
    assert decoded([{"v": bson.Int64(big)}] * 40, ["v"]).stack(["v"])[0, 0] == np.float32(np.float64(big))
    assert alone.values[0] == big


def test_a_memoryview_into_a_reply_is_read_where_it_lies():
    rows = [{"a": i, "s": "x" * (i % 3)} for i in range(100)]
    reply = b"\xff" * 13 + batch_of(rows) + b"\xff" * 99
    columns = Decoder(["a", "s"]).decode(memoryview(reply)[13:-99])
    assert columns.column("a").values.tolist() == list(range(100))
    assert columns.document(5) == rows[5]


def test_documents_of_a_megabyte_are_read():
    rows = [{"_id": i, "blob": bytes(1_000_000 + i), "v": i} for i in range(3)]
    columns = decoded(rows, ["v"])
    assert columns.column("v").values.tolist() == [0, 1, 2]


def test_documents_without_common_keys_are_read():
    rows = [{"_id": i, f"key{i}": i} for i in range(500)]
    columns = decoded(rows)
    assert columns.names == ["_id", *(f"key{i}" for i in range(500))]
    assert columns.column("key77").values[77] == 77


def test_keys_that_look_like_what_follows_a_document_are_read():
    rows = [{"s": "x" * (i % 3), "\x0312": i, "": 2 * i, "k" * 700: 3 * i, "a": 4 * i} for i in range(100)]
    columns = decoded(rows)
    for times, name in enumerate(["\x0312", "", "k" * 700, "a"], 1):
        assert columns.column(name).values.tolist() == [times * i for i in range(100)]


def test_a_decoder_learns_layouts_and_forgets_none_that_it_needs():
    decoder = Decoder(["a", "b"])
    kinds = [lambda i: {"a": i, "b": i}, lambda i: {"b": 0.5, "a": i}, lambda i: {"x": 1, "a": i}, lambda i: {"a": [i]}]
    for _ in range(2):
        for kind in kinds:
            rows = [kind(i) for i in range(60)]
            columns = decoder.decode(batch_of(rows))
            reference.check(columns, rows, "a")
            reference.check(columns, rows, "b")
