"""Texts and objects as codes: each chunk stores its distinct values once, and an int32 per row.

Codes count through all values of the entry, so that rows of several chunks can be gathered and decoded together; a
value that comes in several chunks has several codes. That needs no dictionary in memory, however many values there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nemesyst.feed.table import Array

TEXT, OBJECT = "text", "object"


class UnfitError(Exception):
    """Values that the cache cannot store; the message says which. Never reaches a user."""


def encode(values: Array, kind: str) -> tuple[Array, Array, Array]:
    """Split texts or objects into codes and distinct values, in order of their first row.

    Args:
        values: Shape (rows, *shape).
        kind: ``TEXT`` or ``OBJECT``.

    Returns:
        Codes, int32 of the same shape; places of the values, int64 (values, 2): first byte and length; their bytes.

    Raises:
        UnfitError: An object is of a type that BSON does not know.
    """
    flat: list[Any] = values.ravel().tolist()
    if kind == OBJECT:
        flat = _packed(flat)
    seen: dict[Any, int] = {}
    codes = np.array([seen.setdefault(value, len(seen)) for value in flat], np.int32).reshape(values.shape)
    raw = [_text_bytes(value) for value in seen] if kind == TEXT else list(seen)
    lengths = np.fromiter(map(len, raw), np.int64, len(raw))
    places = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)
    return codes, places, np.frombuffer(b"".join(raw), np.uint8)


def decode(places: Array, heap: Array, kind: str, width: int) -> Array:
    """Texts or objects, one for each place.

    Args:
        places: First byte and length of each value, shape (values, 2).
        heap: Bytes of the values.
        kind: ``TEXT`` or ``OBJECT``.
        width: Characters of the text array.

    Returns:
        A text array of that width, or an array of objects, of shape (values,).
    """
    raw = _slices(places, heap)
    if kind == TEXT:
        return np.array([value.decode("utf-8", "surrogatepass") for value in raw], f"<U{width}")
    found = np.empty(len(raw), object)
    for i, value in enumerate(_unpacked(raw)):  # one by one: NumPy would take lists of one length for a matrix
        found[i] = value
    return found


def _slices(places: Array, heap: Array) -> list[bytes]:
    """The bytes of each value; out of one copy where they lie together, as those of a chunk do."""
    if not len(places):
        return []
    ends = places.sum(axis=1)
    low, high = int(places[:, 0].min()), int(ends.max())
    if high - low > 4 * int(places[:, 1].sum()) + 4096:
        return [heap[start:end].tobytes() for start, end in zip(places[:, 0].tolist(), ends.tolist(), strict=True)]
    near = heap[low:high].tobytes()
    return [near[start:end] for start, end in zip((places[:, 0] - low).tolist(), (ends - low).tolist(), strict=True)]


def _text_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _packed(values: list[Any]) -> list[bytes]:
    import bson

    from nemesyst.feed.decode.values import OPTIONS

    try:
        whole = [bson.encode({"": value}, codec_options=OPTIONS) for value in values]
    except (bson.errors.BSONError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise UnfitError(f"a value cannot be stored: {str(error)[:200]}") from None
    return [document[4:5] + document[6:-1] for document in whole]  # its type, then the value


def _unpacked(raw: list[bytes]) -> list[Any]:
    """Objects, decoded in one call, as one BSON array."""
    import bson

    from nemesyst.feed.decode.values import OPTIONS

    content = b"".join([value[:1] + b"\0" + value[1:] for value in raw])
    array = (5 + len(content)).to_bytes(4, "little") + content + b"\0"
    document = (7 + len(array)).to_bytes(4, "little") + b"\x04\0" + array + b"\0"
    found: list[Any] = bson.decode(document, OPTIONS)[""]
    return found
