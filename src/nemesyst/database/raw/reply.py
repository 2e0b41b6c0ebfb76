"""Cutting the batch out of a reply's bytes: a walk over the few elements of ``cursor``, never over the documents.

``cursor`` is ``{firstBatch | nextBatch: [documents], id: int64, ns: string, atClusterTime: timestamp, ...}`` in any
order; see https://bsonspec.org/spec.html for the elements.
"""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

from bson.timestamp import Timestamp

from nemesyst.errors import DatabaseError

EMPTY = 5
"""Bytes of an array without elements."""

_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _BINARY, _OBJECT_ID, _BOOLEAN = 1, 2, 3, 4, 5, 7, 8
_DATE, _NULL, _INT32, _TIMESTAMP, _INT64 = 9, 10, 16, 17, 18
_FIXED = {_DOUBLE: 8, _OBJECT_ID: 12, _BOOLEAN: 1, _DATE: 8, _NULL: 0, _INT32: 4, _TIMESTAMP: 8, _INT64: 8}
_COUNTED = {_STRING: (1, 4), _BINARY: (0, 5), _DOCUMENT: (EMPTY, 0), _ARRAY: (EMPTY, 0)}
"""Of the types that begin with a length: the least that it may be, and the bytes that it does not count."""

_LONGEST_NAME = 64


class Reply(NamedTuple):
    """What a reply to ``find``, ``aggregate`` or ``getMore`` says.

    Attributes:
        batch: The BSON array of documents, as the server sent it.
        cursor: The server's number of the cursor; 0 when there is no more to read.
        namespace: ``database.collection`` that ``getMore`` has to name.
        time: Cluster time of a snapshot read; None for others.
    """

    batch: memoryview
    cursor: int
    namespace: str
    time: Timestamp | None


def cut(cursor: bytes | memoryview) -> Reply:
    """Read the ``cursor`` element of a reply.

    Raises:
        DatabaseError: It is not a cursor; what answered is not a MongoDB.
    """
    view = memoryview(cursor)
    batch, number, namespace, time = None, None, "", None
    position, end = 4, len(view) - 1
    while position < end:
        kind, name, start = _name(view, position)
        position = start + _size(view, kind, start)
        if name in (b"firstBatch", b"nextBatch") and kind == _ARRAY:
            batch = view[start:position]
        elif name == b"id" and kind == _INT64:
            (number,) = unpack_from("<q", view, start)
        elif name == b"ns" and kind == _STRING:
            namespace = bytes(view[start + 4 : position - 1]).decode(errors="replace")
        elif name == b"atClusterTime" and kind == _TIMESTAMP:
            increment, seconds = unpack_from("<II", view, start)
            time = Timestamp(seconds, increment)
    if batch is None or number is None:
        raise _strange("it has no batch or no cursor")
    return Reply(batch, number, namespace, time)


def _name(view: memoryview, position: int) -> tuple[int, bytes, int]:
    """Type and name of the element at a position, and where its value starts."""
    head = bytes(view[position + 1 : position + 1 + _LONGEST_NAME])
    length = head.find(0)
    if length < 0:
        raise _strange(f"an element's name is longer than {_LONGEST_NAME} bytes")
    return view[position], head[:length], position + 2 + length


def _size(view: memoryview, kind: int, start: int) -> int:
    """Bytes of a value."""
    size = _FIXED.get(kind, -1)
    if kind in _COUNTED:
        least, before = _COUNTED[kind]
        length: int = unpack_from("<i", view, start)[0] if start + 4 <= len(view) else -1
        size = length + before if length >= least else -1
    elif size < 0:
        raise _strange(f"it has an element of type {kind}")
    if not 0 <= size < len(view) - start:
        raise _strange("an element is longer than the reply")
    return size


def _strange(why: str) -> DatabaseError:
    return DatabaseError(f"the database's reply cannot be read: {why}", "Check that the address is a MongoDB's.")
