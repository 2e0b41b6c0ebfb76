"""Records that could not be stored, as documents of ``<collection>.rejected``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import xxhash
from bson import decode

from nemesyst.database.documents import OPTIONS, encode
from nemesyst.errors import RecordError

_OVERHEAD = 4096
"""Room for position, source and reason beside the record, in bytes."""
_SHOWN = 200


def rejected(record: Any, reason: str, place: tuple[int, str | None], room: int) -> bytes:
    """Encode ``{position, source, reason, record, at}``; what cannot be stored of the record is shown as text.

    Args:
        record: The record as it came.
        reason: Why it was not stored.
        place: Its position and source.
        room: Bytes that a document may have.
    """
    position, source = place
    document = {"position": position, "source": source, "reason": reason}
    for show in (_as_it_is, _shown, _sizes):
        try:
            shown = encode({**document, "record": show(record)})
        except RecordError:
            continue
        if len(shown) <= room - _OVERHEAD:
            return _finished(shown)
    return _finished(encode({**document, "record": None}))


def _finished(shown: bytes) -> bytes:
    # Its content is its _id, so that the same file put again adds nothing.
    document = decode(shown, OPTIONS)
    return encode({"_id": xxhash.xxh3_128_hexdigest(shown), **document, "at": datetime.now(UTC)})


def _as_it_is(record: Any) -> Any:
    if isinstance(record, Mapping) and any(_too_fine(value) for value in record.values()):
        return {name: value.isoformat() if _too_fine(value) else value for name, value in record.items()}
    return record


def _too_fine(value: Any) -> bool:
    """Whether a date has digits that BSON would cut off, and that may be why the record is here."""
    return isinstance(value, datetime) and value.microsecond % 1000 != 0


def _shown(record: Any) -> Any:
    """The record with every value that cannot be stored as text."""
    if not isinstance(record, Mapping):
        return text(record)
    shown: dict[str, Any] = {}
    for name, value in record.items():
        label = text(name) if not isinstance(name, str) or "\0" in name else name
        try:
            encode({"value": value})
        except RecordError:
            shown[label] = text(value)
        else:
            shown[label] = value
    return shown


def _sizes(record: Any) -> Any:
    """Names and sizes, for a record that is too large to be kept."""
    if not isinstance(record, Mapping):
        return text(record)
    return {text(name)[:_SHOWN]: f"{_size(value)} bytes" for name, value in list(record.items())[:1000]}


def _size(value: Any) -> int | str:
    try:
        return len(encode({"": value})) - 7
    except RecordError:
        return "unknown"


def text(value: Any) -> str:
    """A value as text of at most 200 characters that can be stored."""
    try:
        said = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - a record may hold anything
        said = f"<{type(value).__name__}, whose repr fails: {type(error).__name__}>"
    said = said.encode(errors="backslashreplace").decode()
    return said if len(said) <= _SHOWN else said[:_SHOWN] + "..."
