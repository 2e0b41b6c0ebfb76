"""Documents: NumPy arrays, scalars and dates as BSON values, and back.

Arrays that BSON's standard binary vector (subtype 9) can hold, so 1-D ``float32``, ``int8`` and ``bool``, are stored as
one; every other array is the sub-document ``{"dtype": "uint8", "shape": [28, 28], "data": <bytes>}``, little-endian, in
C order. See https://bsonspec.org/spec.html and the BSON Binary Vector specification.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import bson
import numpy as np
from bson.binary import VECTOR_SUBTYPE, Binary
from bson.codec_options import CodecOptions, TypeRegistry
from bson.decimal128 import Decimal128

from nemesyst.errors import RecordError

Array = np.ndarray[Any, np.dtype[Any]]

STAMP = "_stamp"
"""The field that the server fills with its cluster time at insert."""

_PACKED = ("dtype", "shape", "data")
_PACKED_BIT = 0x10
_VECTORS = {"int8": 0x03, "float32": 0x27}
_VECTOR_DTYPES = {code: np.dtype(name) for name, code in _VECTORS.items()}
_NUMERIC = "biufc"
_OTHER = "mMUS"


def pack(array: Array) -> Any:
    r"""Turn an array of any shape into a BSON value that :func:`unpack` turns back.

    Raises:
        RecordError: The array holds Python objects, records, or a type of this platform alone.

    >>> pack(np.zeros((2, 2), "uint8"))
    {'dtype': 'uint8', 'shape': [2, 2], 'data': b'\x00\x00\x00\x00'}
    """
    dtype = array.dtype
    name = dtype.name
    if dtype.kind not in _NUMERIC + _OTHER or name in ("longdouble", "clongdouble", "float128", "complex256"):
        raise RecordError(f"an array of dtype {dtype} cannot be stored", "Use numbers, dates or fixed-length text.")
    if isinstance(array, np.ma.MaskedArray):
        raise RecordError("a masked array cannot be stored", "Fill its gaps first: array.filled(value).")
    if array.ndim == 1 and name == "bool":
        return _bits(array)
    little = np.asarray(array, dtype=dtype.newbyteorder("<"))
    data = little.tobytes()
    if array.ndim == 1 and name in _VECTORS:
        return Binary(bytes((_VECTORS[name], 0)) + data, VECTOR_SUBTYPE)
    written = name if dtype.kind in _NUMERIC else little.dtype.str
    return {"dtype": written, "shape": list(array.shape), "data": data}


def is_packed(value: Any) -> bool:
    """Whether a value that was read has the form of a packed array."""
    if isinstance(value, Binary):
        return value.subtype == VECTOR_SUBTYPE
    return (
        isinstance(value, Mapping)
        and tuple(value) == _PACKED
        and isinstance(value["dtype"], str)
        and isinstance(value["shape"], list)
        and isinstance(value["data"], bytes)
    )


def unpack(value: Any) -> Any:
    """Turn a packed array back into a writable array of the same dtype, shape and values; leave other values alone.

    Raises:
        RecordError: The value has the form of a packed array, but its parts contradict each other.
    """
    if not is_packed(value):
        return value
    if isinstance(value, Binary):
        return _vector(value)
    dtype, shape = _dtype(value["dtype"]), tuple(value["shape"])
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise _damaged(f"shape {value['shape']}")
    if math.prod(shape) * dtype.itemsize != len(value["data"]):
        raise _damaged(f"{len(value['data'])} bytes for shape {list(shape)} of {dtype.name}")
    return np.ndarray(shape, dtype, buffer=value["data"]).astype(dtype.newbyteorder("="), copy=True)


def unpack_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack every array of a document that was read, also in sub-documents and lists."""
    return {name: _unpack_deep(value) for name, value in document.items()}


def _unpack_deep(value: Any) -> Any:
    if is_packed(value):
        return unpack(value)
    if isinstance(value, Mapping):
        return unpack_document(value)
    if isinstance(value, list):
        return [_unpack_deep(item) for item in value]
    return value


def _bits(array: Array) -> Binary:
    padding = -array.size % 8
    return Binary(bytes((_PACKED_BIT, padding)) + np.packbits(array).tobytes(), VECTOR_SUBTYPE)


def _vector(value: Binary) -> Array:
    if len(value) < 2:
        raise _damaged("a vector without a header")
    code, padding = value[0], value[1]
    if code == _PACKED_BIT:
        bits = np.unpackbits(np.frombuffer(value, np.uint8, offset=2))
        if padding > 7 or padding > bits.size:
            raise _damaged(f"a bit vector with padding {padding}")
        return bits[: bits.size - padding].astype(bool)
    dtype = _VECTOR_DTYPES.get(code)
    if dtype is None or padding or (len(value) - 2) % dtype.itemsize:
        raise _damaged(f"a vector of type {code:#x} with padding {padding} and {len(value) - 2} bytes")
    return np.ndarray(((len(value) - 2) // dtype.itemsize,), dtype.newbyteorder("<"), bytes(value), 2).astype(dtype)


def _dtype(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise _damaged(f"dtype {name!r}") from None
    if dtype.kind not in _NUMERIC + _OTHER:
        raise _damaged(f"dtype {name!r}")
    return dtype.newbyteorder("<")


def _damaged(what: str) -> RecordError:
    return RecordError(f"a packed array cannot be read: {what}", "Put the row again from its source.")


def plain(value: Any) -> Any:  # noqa: PLR0911 - one kind of value after another
    """Turn a value that BSON does not know into one that it does; the encoder calls this for unknown types only.

    Arrays (and what has ``__array__``, such as tensors) are packed, NumPy scalars become Python's, ``Decimal`` becomes
    ``Decimal128``, a date becomes its midnight (UTC), and ``NaT`` and ``NA`` of NumPy and pandas become null.

    Raises:
        RecordError: The value cannot be stored.
    """
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, np.generic):
        return _scalar(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return dict(value)
    if is_missing(value):
        return None
    if isinstance(value, int):
        raise RecordError(f"the whole number {value} needs more than 64 bits", "Store it as text or as a float.")
    if hasattr(value, "__array__"):
        return pack(np.asarray(value))
    kind = type(value)
    raise RecordError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored")


def _decimal(value: Decimal) -> Decimal128:
    try:
        return Decimal128(value)
    except ArithmeticError:
        raise RecordError(f"the decimal {value!s:.50} needs more than 34 digits", "Round it.") from None


def is_missing(value: Any) -> bool:
    """Whether a value is the ``NaT`` or ``NA`` of pandas; told by name, so that pandas need not be imported."""
    return type(value).__name__ in ("NaTType", "NAType")


def _scalar(value: np.generic) -> Any:
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return None
        moment = value.astype("datetime64[us]").item()
        if not isinstance(moment, datetime):  # NumPy's reach further than Python's
            raise RecordError(f"the date {value} lies outside of the years 1 to 9999")
        return moment.replace(tzinfo=UTC)
    if value.dtype.kind not in "biuf":
        raise RecordError(f"a value of dtype {value.dtype} cannot be stored", "Store it as a number, or as an array.")
    return float(value) if value.dtype.kind == "f" else value.item()


OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    uuid_representation=4, tz_aware=True, type_registry=TypeRegistry(fallback_encoder=plain)
)
"""How rows are encoded; costs nothing for values that BSON knows."""


def encode(document: Mapping[str, Any]) -> bytes:
    """Encode a document, arrays packed.

    Raises:
        RecordError: A value or a name cannot be stored; says which.
    """
    try:
        return bson.encode(document, False, OPTIONS)  # noqa: FBT003 - positional: this runs for every row
    except RecordError:
        raise
    except RecursionError:
        raise RecordError("it is nested too deeply, or holds itself") from None
    except (bson.errors.BSONError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise RecordError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error).removeprefix("Invalid document: ")
    return text if len(text) <= 200 else text[:200] + "..."
