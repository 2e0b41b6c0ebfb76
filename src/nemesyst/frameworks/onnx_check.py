"""Checks an ONNX file before ONNX Runtime sees it, by a walk over its protocol buffers; needs neither package.

Refused are tensors that lie in other files (a path in a model would make the reader open it), operators that are not
the standard's own, tensors that claim more than their bytes hold, and anything that is no well-formed ONNX file.
The numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemesyst.errors import CorruptBlobError, UntrustedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
"""Sets of operators that the standard defines, and whose meaning every runtime shares."""

_LIMIT = 2**31 - 1
_DEPTH = 48
_PER_BYTE = 4
"""Most elements that one byte of a tensor can hold: the smallest type has 2 bits."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _NODE, _TENSOR, _SPARSE, _ATTRIBUTE, _FUNCTION, _TRAINING, _MODEL = range(8)
_MESSAGES = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _TENSOR: {},
}
"""Which fields of a message hold messages that need a look."""

_REPEATED = {
    (_MODEL, 20), (_MODEL, 25), (_GRAPH, 1), (_GRAPH, 5), (_GRAPH, 15), (_NODE, 5), (_ATTRIBUTE, 10), (_ATTRIBUTE, 11),
    (_ATTRIBUTE, 23), (_FUNCTION, 7), (_FUNCTION, 11),
}  # fmt: skip


@dataclass
class _Found:
    """Operators that nodes ask for, and those that functions in the file define: pairs of domain and name."""

    used: set[tuple[str, str]] = field(default_factory=set)
    defined: set[tuple[str, str]] = field(default_factory=set)


def check_onnx_file(data: memoryview, trust: Collection[str] | None = ()) -> None:
    """Raise unless the file is well-formed ONNX that reads nothing else and asks for standard operators alone.

    Args:
        data: The file.
        trust: Further sets of operators that the reader allows, such as ``"com.microsoft"``; None: any.

    Raises:
        CorruptBlobError: It is no ONNX file, or it names other files, or a tensor claims more than there is.
        UntrustedError: It asks for operators outside of the standard.
    """
    try:
        found = _read(data)
    except (ValueError, IndexError) as error:
        raise CorruptBlobError(f"not an ONNX file that can be used safely: {error}") from None
    if trust is None:
        return
    allowed = {*STANDARD, *trust}
    own = {each for each in found.defined if not each[0].startswith(("com.microsoft", "ai.onnx")) and each[0]}
    if refused := sorted({domain for domain, name in found.used - own if domain not in allowed}):
        raise UntrustedError(
            f"the model asks for operators outside of the ONNX standard: {', '.join(refused)}",
            f"If you know who saved it, and your runtime has them, pass trust={refused!r}.",
        )


def _read(data: memoryview) -> _Found:
    if len(data) > _LIMIT:
        raise ValueError(f"{len(data)} bytes, and the format ends at 2 GB")
    found = _Found()
    _walk(data, _MODEL, found, 0)
    if not found.used:
        raise ValueError("it has no graph of operators")
    return found


def _walk(data: memoryview, kind: int, found: _Found, depth: int) -> None:
    if depth > _DEPTH:
        raise ValueError("it is nested too deeply")
    if kind == _TENSOR:
        _check_tensor(data)
        return
    inner, seen, text = _MESSAGES[kind], set(), {}
    for number, wire, value in _fields(data):
        if kind in (_NODE, _FUNCTION) and number in (1, 4, 7, 10) and wire == _BYTES and number not in inner:
            text[number] = bytes(value)
        if (child := inner.get(number)) is None:
            continue
        if wire != _BYTES or ((kind, number) not in _REPEATED and number in seen):
            raise ValueError(f"field {number} stands twice or has another type")  # a parser would merge the two
        seen.add(number)
        _walk(value, child, found, depth + 1)
    if kind == _NODE:
        found.used.add((text.get(7, b"").decode(), text.get(4, b"").decode()))
    elif kind == _FUNCTION:
        found.defined.add((text.get(10, b"").decode(), text.get(1, b"").decode()))


def _check_tensor(data: memoryview) -> None:
    sizes: list[int] = []
    held = strings = 0
    for number, wire, value in _fields(data):
        if number == 13 or (number == 14 and _integer(value) != 0):
            raise ValueError("a tensor lies in another file, which is never read")
        if number == 1:
            sizes += _integers(value) if wire == _BYTES else [_integer(value)]
        elif number == 6:
            strings += 1
        elif number in (4, 5, 7, 9, 10, 11):
            held += len(value)
    if any(size < 0 for size in sizes):
        raise ValueError("a tensor has a negative size")
    if (count := math.prod(sizes)) > max(held * _PER_BYTE, strings):
        raise ValueError(f"a tensor claims {count} elements in {held} bytes")


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and bytes of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, end = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            end = at + length
        elif wire in (_FIXED64, _FIXED32):
            end = at + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"a field of type {wire}")
        if not number or end > len(data):
            raise ValueError(f"a field of {end - at} bytes is claimed at byte {at} of {len(data)}")
        yield number, wire, data[at:end]
        at = end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 10 bytes")


def _integer(data: memoryview) -> int:
    value = _varint(data, 0)[0] & (2**64 - 1)
    return value - 2**64 if value >> 63 else value


def _integers(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, end = _varint(data, at)
        values.append(_integer(data[at:end]) if value >> 63 else value)
        at = end
    return values
