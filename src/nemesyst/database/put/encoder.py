"""One record as an encoded row: checked, keyed, stamped, arrays packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from nemesyst.database.documents import OPTIONS, STAMP, encode, is_missing
from nemesyst.database.put.keys import key_of
from nemesyst.database.put.rows import Refused
from nemesyst.errors import RecordError

if TYPE_CHECKING:
    from nemesyst.database.put.schema import Check

_FILLED_BY_SERVER = Timestamp(0, 0)
_OWN = ("_id",)


@dataclass(frozen=True)
class Encoder:
    """Makes rows of a collection.

    Attributes:
        fields: Fields of the key; none: a row gets an ObjectId, unless it brings an ``_id``.
        check: The schema's check, or None.
        room: Bytes that a row may have.
        stamped: Whether rows get the server's stamp.
        replace: Make statements that replace the row of the same ``_id``, or add it.
    """

    fields: tuple[str, ...]
    check: Check | None
    room: int
    stamped: bool
    replace: bool

    def row(self, record: Any) -> bytes:
        """Encode a record.

        Raises:
            RecordError: It cannot be stored; the message is the reason.
        """
        if type(record) is not dict:
            record = _as_dict(record)
        if self.check:
            self.check(record)
        try:
            encoded = encode(self._document(record))
        except RecordError as error:
            if "NaT" not in error.message:
                raise
            encoded = encode(self._document(_clean(record)))  # a NaT is a date to the encoder: looked for only now
        if len(encoded) > self.room:
            raise RecordError(f"it is too large: {len(encoded):,} bytes, where a row has at most {self.room:,}")
        if self.replace:
            row = RawBSONDocument(encoded)
            return encode({"q": {"_id": row["_id"]}, "u": row, "upsert": True})
        return encoded

    def _document(self, record: Mapping[str, Any]) -> dict[str, Any]:
        if self.fields:
            identity = key_of(record, self.fields)
        else:
            identity = key_of(record, _OWN) if "_id" in record else ObjectId()
        document = {"_id": identity, **record, STAMP: _FILLED_BY_SERVER} if self.stamped else {"_id": None, **record}
        document["_id"] = identity
        return document

    def record(self, row: bytes) -> dict[str, Any]:
        """The record as it came, out of an encoded row."""
        decoded: dict[str, Any] = bson.decode(row, OPTIONS)
        document = decoded["u"] if self.replace else decoded
        return {name: value for name, value in document.items() if name not in ("_id", STAMP)}


def _as_dict(record: Any) -> dict[str, Any]:
    if isinstance(record, Refused):
        raise RecordError(record.reason)
    if not isinstance(record, Mapping):
        raise RecordError(f"it is of type {type(record).__name__}, and a dict was expected")
    return dict(record)


def _clean(value: Any) -> Any:
    """A value with null for every ``NaT`` and ``NA`` of pandas in it."""
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {name: _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
