"""Values as Python objects, for what has no array type, and for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import numpy as np
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

from nemesyst.database import is_packed
from nemesyst.feed.decode.cells import joined
from nemesyst.feed.decode.kinds import ABSENT, NULL, SIZES, damaged
from nemesyst.feed.decode.scan import size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemesyst.feed.decode.cells import Cells

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    uuid_representation=UuidRepresentation.STANDARD, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


def document(data: bytes) -> dict[str, Any]:
    """Decode a document.

    Raises:
        RecordError: It is damaged.
    """
    try:
        return bson.decode(data, OPTIONS)
    except (bson.errors.BSONError, ValueError, OverflowError, RecursionError) as error:
        raise damaged(str(error)[:200]) from error


def values(cells: Cells) -> list[Any]:
    """All values, None where there is none: decoded in one call, as one BSON array.

    Raises:
        RecordError: A value is damaged.
    """
    kind = cells.one_kind()
    if kind is not None and SIZES[kind] >= 0 and kind != ABSENT:
        width = SIZES[kind]
        matrix = np.zeros((cells.rows, 2 + width), np.uint8)  # type, the empty key, value
        matrix[:, 0] = kind
        if width:
            matrix[:, 2:] = joined(cells, width)
        return _decoded(matrix.tobytes())
    raw = cells.frame.plain
    return _decoded(b"".join(_elements(raw, cells.kinds.tolist(), cells.at.tolist())))


def value_at(cells: Cells, row: int) -> Any:
    """One value."""
    kind, at = int(cells.kinds[row]), int(cells.at[row])
    rest = cells.frame.rest(at) if kind != ABSENT else b""  # not the whole batch, which may have to be copied
    return _decoded(b"".join(_elements(rest, [kind], [0])))[0]


def is_array(value: Any) -> bool:
    """Whether a value is a packed array in the form of a sub-document."""
    return isinstance(value, dict) and is_packed(value)


def _elements(raw: bytes, kinds: list[int], starts: list[int]) -> Iterable[bytes]:
    for kind, start in zip(kinds, starts, strict=True):
        if kind == ABSENT:
            yield bytes((NULL, 0))
        else:
            yield bytes((kind, 0))
            yield raw[start : start + size(raw, kind, start, len(raw))]


def _decoded(content: bytes) -> list[Any]:
    array = (5 + len(content)).to_bytes(4, "little") + content + b"\0"
    found: list[Any] = document((4 + 3 + len(array)).to_bytes(4, "little") + b"\x04\0" + array + b"\0")[""]
    return found
