"""Blobs: bytes of any size in ``blobs`` and ``blobs.chunks``, visible only when complete, verified when read.

A blob's document is ``pending`` while its parts are written and ``ready`` when all of them are on a majority of the
servers. Whoever refers to it from a document calls :meth:`Blobs.touch` in the transaction that inserts the document:
the collector of unused blobs (which marks a blob ``doomed`` first) and the insert then write the same document, so
that they conflict instead of racing. A process that dies on the way leaves a pending blob that nothing refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from bson import ObjectId

from nemesyst.database.translate import translated
from nemesyst.errors import CorruptBlobError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.client_session import ClientSession

    from nemesyst.database.connection import Connection

SMALL = 256 * 1024
"""Up to this many bytes the content sits inside of the document that refers to it."""

PART = 255 * 1024
"""Bytes of a part; with its names a part's document stays under 256 KB."""

PARTS_A_CALL = 32


@dataclass(frozen=True)
class Content:
    """Stored bytes: what a record says about them.

    Attributes:
        digest: BLAKE3 of the bytes, in hex.
        size: How many there are.
        data: The bytes themselves, if there are few.
        blob: Else the identity of the blob that holds them.
    """

    digest: str
    size: int
    data: bytes | None = None
    blob: ObjectId | None = None


class Blobs:
    """The blobs of a state database.

    Args:
        connection: The server.
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        database = connection.own_database(state)
        self._blobs = database["blobs"]
        self._parts = database["blobs.chunks"]
        self._indexed = False

    def store(self, pieces: Iterable[bytes | bytearray | memoryview], doing: str) -> Content:
        """Keep the pieces, one after the other, as one content; a large one is acknowledged by a majority.

        Holds no more than one call's parts (8 MB) beside the piece at hand.
        """
        hasher, size, parts = blake3(), 0, []
        blob: ObjectId | None = None
        with translated(doing):
            for part in _cut(pieces):
                hasher.update(part)
                size += len(part)
                parts.append(part)
                if len(parts) == PARTS_A_CALL:
                    blob = blob or self._begin()
                    self._write(blob, size, parts)
                    parts = []
            digest = hasher.hexdigest()
            if size <= SMALL:
                return Content(digest, size, data=b"".join(parts))
            blob = blob or self._begin()
            self._write(blob, size, parts)
            ready = {"state": "ready", "digest": digest, "size": size}
            self._blobs.update_one({"_id": blob}, {"$set": ready})
        return Content(digest, size, blob=blob)

    def touch(self, blob: ObjectId, session: ClientSession) -> None:
        """Claim a blob for the document that the same transaction inserts.

        Raises:
            ModelError: The blob has been collected meanwhile.
        """
        claimed = {"$currentDate": {"claimed": True}}
        if not self._blobs.update_one({"_id": blob, "state": "ready"}, claimed, session=session).matched_count:
            raise ModelError("the stored bytes were collected before a record named them", "Save again.")

    def load(self, content: Content, ref: str) -> bytearray:
        """Read a content, in one buffer of its size, and verify it.

        Raises:
            CorruptBlobError: The bytes are not those that were saved; names ``ref``, what was expected and found.
        """
        if content.data is not None:
            buffer = bytearray(content.data)
        elif content.blob is not None:
            with translated(f"load {ref}"):
                buffer = self._read(content, ref)
        else:
            raise _corrupt(ref, "its bytes", "none")
        if len(buffer) != content.size:
            raise _corrupt(ref, f"{content.size} bytes", f"{len(buffer)}")
        if (found := blake3(buffer, max_threads=blake3.AUTO).hexdigest()) != content.digest:
            raise _corrupt(ref, f"BLAKE3 {content.digest}", found)
        return buffer

    def _begin(self) -> ObjectId:
        if not self._indexed:
            self._parts.create_index([("blob", 1), ("n", 1)], unique=True)
            self._indexed = True
        blob = ObjectId()
        pending = {"$set": {"state": "pending"}, "$currentDate": {"created": True}}
        self._blobs.update_one({"_id": blob}, pending, upsert=True)
        return blob

    def _write(self, blob: ObjectId, end: int, parts: list[bytes]) -> None:
        """Insert the parts, of which the last one ends at byte ``end``."""
        first = -(-end // PART) - len(parts)
        if parts:
            self._parts.insert_many([{"blob": blob, "n": first + n, "data": part} for n, part in enumerate(parts)])

    def _read(self, content: Content, ref: str) -> bytearray:
        expected = -(-content.size // PART)
        # counted before room is made: a record that claims terabytes must not take them
        found = self._parts.count_documents({"blob": content.blob})
        if found != expected:
            raise _corrupt(ref, f"{expected} parts", f"{found}")
        buffer, n = bytearray(content.size), 0
        cursor = self._parts.find({"blob": content.blob}, {"_id": 0, "n": 1, "data": 1}, batch_size=PARTS_A_CALL)
        with cursor.sort("n", 1) as parts:
            for part in parts:
                begin = n * PART
                room = min(PART, content.size - begin)
                _check_part(part, n, room, ref)
                buffer[begin : begin + room] = part["data"]
                n += 1
        if n != expected:
            raise _corrupt(ref, f"{expected} parts", f"{n}")
        return buffer


def _check_part(part: dict[str, Any], n: int, room: int, ref: str) -> None:
    data = part.get("data")
    if part["n"] != n or not isinstance(data, bytes) or len(data) != room or room <= 0:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise _corrupt(ref, f"part {n} of {room} bytes", f"part {part['n']}, {found}")


def _corrupt(ref: str, expected: str, found: str) -> CorruptBlobError:
    return CorruptBlobError(
        f"the stored bytes of {ref} are not the ones that were saved: expected {expected}, found {found}",
        "Use another version, or save this one again; find out who writes to the state database.",
    )


def _cut(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Cut pieces of any size anew into parts of one size; the last one may be shorter."""
    held = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        if not view.nbytes:
            continue
        view, begin = view.cast("B"), 0
        if held:
            begin = min(PART - len(held), len(view))
            held += view[:begin]
            if len(held) == PART:
                yield bytes(held)
                held = bytearray()
        while len(view) - begin >= PART:
            yield bytes(view[begin : begin + PART])
            begin += PART
        if begin < len(view):
            held += view[begin:]
    if held:
        yield bytes(held)
