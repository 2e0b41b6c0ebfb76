"""Arrays and scalars as BSON values, and back."""

from datetime import UTC, date, datetime
from decimal import Decimal

import bson
import numpy as np
import pytest
from bson.binary import Binary, BinaryVectorDtype
from bson.decimal128 import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nemesyst.database.documents import OPTIONS, encode, is_packed, pack, unpack, unpack_document
from nemesyst.errors import RecordError

KINDS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.byte_string_dtypes(min_len=1),
    hnp.unicode_string_dtypes(min_len=1, endianness="?"),
)


def stored(value):
    """What comes back after a value went through BSON."""
    return bson.decode(encode({"value": value}), OPTIONS)["value"]


def check_same(array):
    back = unpack(stored(array))
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(KINDS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
def test_every_array_comes_back_the_same(array):
    check_same(array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[::2, ::-1],
        np.asfortranarray(np.eye(3)),
        np.arange(9, dtype="f4")[::2],
        np.ones(3, ">i2"),
    ],
)
def test_arrays_in_other_memory_orders_come_back_the_same(array):
    check_same(array)


def test_an_array_comes_back_writable():
    back = unpack(stored(np.zeros((2, 2))))
    back[0, 0] = 1
    assert back.flags.c_contiguous


def test_an_image_is_stored_self_described_in_a_fixed_order():
    assert pack(np.ones((1, 2), "uint8")) == {"dtype": "uint8", "shape": [1, 2], "data": b"\1\1"}
    assert list(stored(np.ones((1, 2), "uint8"))) == ["dtype", "shape", "data"]


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (np.array([1.5, -2], "float32"), BinaryVectorDtype.FLOAT32, [1.5, -2]),
        (np.array([1, -2], "int8"), BinaryVectorDtype.INT8, [1, -2]),
    ],
)
def test_vectors_are_the_standard_ones_of_bson(array, kind, values):
    vector = stored(array).as_vector()
    assert (vector.dtype, list(vector.data)) == (kind, values)


def test_a_bool_vector_is_a_standard_bit_vector_with_padding():
    vector = stored(np.array([True, False, True])).as_vector()
    assert (vector.dtype, vector.data, vector.padding) == (BinaryVectorDtype.PACKED_BIT, [0b10100000], 5)


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.zeros(2, [("a", "i4")]), np.zeros(2, "longdouble"), np.ma.masked_array([1, 2], [0, 1])],
)
def test_arrays_that_mean_nothing_elsewhere_are_refused(array):
    with pytest.raises(RecordError, match="cannot be stored"):
        pack(array)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(1.5), 1.5),
        (np.int64(7), 7),
        (np.array(1) == 1, True),
        (np.datetime64("2026-01-02T03:04:05.678"), datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        (np.datetime64("NaT"), None),
        (np.str_("a"), "a"),
        (Decimal("1.10"), Decimal128("1.10")),
        (date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)),
        (bytearray(b"x"), b"x"),
    ],
)
def test_scalars_become_what_the_database_can_query(value, expected):
    back = stored(value)
    assert (type(back), back) == (type(expected), expected)


@pytest.mark.parametrize("value", [np.uint64(2**63), 2**64, {1}, np.timedelta64(1, "s"), np.complex64(1), object()])
def test_what_bson_has_no_type_for_is_refused_with_a_reason(value):
    with pytest.raises(RecordError, match=r"cannot be stored|64 bits|8-byte"):
        encode({"value": value})


def test_arrays_deep_in_a_document_are_unpacked():
    document = {"a": {"b": [np.eye(2), 5]}, "c": "text"}
    back = unpack_document(bson.decode(encode(document), OPTIONS))
    np.testing.assert_array_equal(back["a"]["b"][0], np.eye(2))
    assert (back["a"]["b"][1], back["c"]) == (5, "text")


@pytest.mark.parametrize(
    "value", [5, "x", {"dtype": 1, "shape": [], "data": b""}, {"shape": []}, Binary(b"x", 5), None]
)
def test_other_values_are_left_alone(value):
    assert not is_packed(value)
    assert unpack(value) is value


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": "uint8", "shape": [3], "data": b"xx"},
        {"dtype": "uint8", "shape": [-1, -2], "data": b"xx"},
        {"dtype": "object", "shape": [1], "data": b"12345678"},
        {"dtype": "no such", "shape": [1], "data": b"1"},
        Binary(b"\x27\0abc", 9),
        Binary(b"\x99\0", 9),
        Binary(b"\x10\x07", 9),
    ],
)
def test_a_damaged_array_is_told(value):
    with pytest.raises(RecordError, match="packed array cannot be read"):
        unpack(value)
