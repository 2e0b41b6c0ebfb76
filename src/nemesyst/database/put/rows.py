"""Any source of records as one stream of rows: dicts, tables, frames, or a mix of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nemesyst.database.put.tables import is_table, table_records
from nemesyst.errors import RecordError


class Row(NamedTuple):
    """A record and where it came from.

    Attributes:
        record: The record, or a :class:`Refused` one.
        position: Its place: from 0 in an iterable or table, the line from 1 in a text file.
        source: The file, or None.
    """

    record: Any
    position: int
    source: str | None


@dataclass(frozen=True)
class Refused:
    """A record that its source could not read: it goes among the rejected ones.

    Attributes:
        reason: Why it cannot be stored.
        shown: What can be shown of it.
    """

    reason: str
    shown: Any


def rows(records: Any, source: str | None = None) -> Iterator[Row]:
    """Walk over records: an iterable of dicts, tables, frames and :class:`Row`, or a single dict, table or frame.

    Raises:
        RecordError: ``records`` is nothing of the kind.
    """
    position = 0
    for item in _items(records):
        if type(item) is dict:
            yield Row(item, position, source)
            position += 1
        elif type(item) is Row:
            yield item
        elif is_table(item):
            for record in table_records(item):
                yield Row(record, position, source)
                position += 1
        else:
            yield Row(item, position, source)
            position += 1


def _items(records: Any) -> Iterable[Any]:
    if isinstance(records, Mapping) or is_table(records):
        return (records,)
    if isinstance(records, str | bytes):
        raise RecordError(
            "records is text, and a table or an iterable of dicts was expected",
            "To store a file: nemesyst put FILE --into COLLECTION.",
        )
    if not isinstance(records, Iterable):
        raise RecordError(f"records is a {type(records).__name__}, and a table or an iterable of dicts was expected")
    return records
