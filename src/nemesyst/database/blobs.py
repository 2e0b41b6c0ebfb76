"""Blobs: bytes of any size in ``blobs`` and ``blobs.chunks``, visible only when complete, verified when read.

A blob's document is ``pending`` while its parts are written and ``ready`` when all of them are on a majority of the
servers. Whoever refers to it from a document calls :meth:`Blobs.claim` in the transaction that inserts the document:
the collector of unused blobs (which marks a blob ``doomed`` first) and the insert then write the same document, so
that they conflict instead of racing. A process that dies on the way leaves a pending blob that nothing refers to.

Equal contents are stored once: what is there already under the same digest is referred to again.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from bson import ObjectId

from nemesyst.database.blobparts import PartWriter, corrupt, count, cut, digest_of, read, read_into, room_for
from nemesyst.database.translate import translated
from nemesyst.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pymongo.client_session import ClientSession

    from nemesyst.database.connection import Connection
    from nemesyst.database.nodecache import Landing, NodeCache
    from nemesyst.settings import Settings

    Buffer = bytes | bytearray | memoryview

SMALL = 256 * 1024
"""Up to this many bytes the content sits inside of the document that refers to it."""

_HELD = 8 << 20
"""Bytes of a content that are held to look for an equal one; a longer one is gone through twice."""

_LARGE = 64 << 20
"""Contents of more bytes are read into a file, from where they are mapped, and not into memory."""

_RENEW = 5.0
"""How often a saver says that it is still at work, in s: the collector looks at how long ago that was."""


def cache_of(settings: Settings) -> NodeCache | None:
    """The cache of this node that the settings name; None without one, and on systems without its file locks."""
    if not settings.cache_size or os.name != "posix":
        return None
    from nemesyst.database.nodecache import NodeCache

    return NodeCache.of(settings)


class CollectedError(ModelError):
    """A blob that was collected before a record named it: it is to be stored anew."""


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
        cache: Where this node keeps those that were read; None: nowhere.
    """

    def __init__(self, connection: Connection, state: str, cache: NodeCache | None = None) -> None:
        database = connection.own_database(state)
        self._blobs = database["blobs"]
        self._parts = database["blobs.chunks"]
        self._cache = cache
        self._indexed = False

    def store(self, pieces: Iterable[Buffer], doing: str, *, anew: bool = False) -> Content:
        """Keep the pieces, one after the other, as one content; a large one is acknowledged by a majority.

        Holds no more than two calls' parts (16 MB) beside the piece at hand.

        Args:
            pieces: The bytes. What can be gone through again (a list, not a generator) is looked for first, and not
                stored twice.
            doing: For the error: "save model air".
            anew: Do not look for an equal one.
        """
        with translated(doing):
            if anew or iter(pieces) is pieces:
                return self._upload(pieces)
            digest, size, held = _looked_through(pieces)
            if size <= SMALL:
                return Content(digest, size, data=held)
            known = self.find(digest, size)
            return known if known is not None else self._upload([held] if held else pieces)

    def find(self, digest: str, size: int) -> Content | None:
        """A large content that is stored already; None if it is not, or small."""
        if size <= SMALL:
            return None
        found = self._blobs.find_one({"digest": digest, "size": size, "state": "ready"}, {"_id": 1})
        return None if found is None else Content(digest, size, blob=found["_id"])

    def touch(self, blob: ObjectId, session: ClientSession) -> None:
        """Claim a blob for the document that the same transaction inserts; see :meth:`claim`."""
        self.claim([blob], session)

    def claim(self, blobs: Collection[ObjectId], session: ClientSession) -> None:
        """Claim blobs for the documents that the same transaction inserts.

        Raises:
            CollectedError: One has been collected meanwhile.
        """
        if not blobs:
            return
        ready = {"_id": {"$in": list(blobs)}, "state": "ready"}
        claimed = self._blobs.update_many(ready, {"$currentDate": {"touched": True}}, session=session)
        if claimed.matched_count != len(set(blobs)):
            raise _collected()

    def load(self, content: Content, ref: str) -> memoryview:
        """Read a content and verify it: read-only, in memory, or mapped from the node's cache or another file.

        Raises:
            CorruptBlobError: The bytes are not those that were saved; names ``ref``, what was expected and found.
        """
        if content.blob is None:
            return memoryview(b"".join(self.pieces(content, ref)))
        kept = None if self._cache is None else self._cache.open(content.digest, content.size)
        return kept if kept is not None else self._fetch(content, content.blob, ref)

    def pieces(self, content: Content, ref: str) -> Iterator[bytes]:
        """The bytes of a content, piece by piece; they are verified when the last one has been taken.

        Raises:
            CorruptBlobError: They are not those that were saved.
        """
        if content.data is None and content.blob is None:
            raise corrupt(ref, "its bytes", "none")
        hasher, size = blake3(), 0
        with translated(f"load {ref}"):
            for piece in self._read(content, ref):
                hasher.update(piece)
                size += len(piece)
                yield piece
        if size != content.size:
            raise corrupt(ref, f"{content.size} bytes", f"{size}")
        if (found := hasher.hexdigest()) != content.digest:
            raise corrupt(ref, f"BLAKE3 {content.digest}", found)

    def _upload(self, pieces: Iterable[Buffer]) -> Content:
        parts = cut(pieces)
        first = list(islice(parts, 2))
        hasher, size, renewed = blake3(), sum(map(len, first)), time.monotonic()
        if size <= SMALL:
            data = b"".join(first)
            return Content(blake3(data).hexdigest(), size, data=data)
        blob, size = self._begin(), 0
        with PartWriter(self._parts, blob) as writer:
            for part in chain(first, parts):
                hasher.update(part)
                size += len(part)
                writer.add(part)
                if time.monotonic() - renewed > _RENEW:
                    self._change(blob, {"$currentDate": {"touched": True}})
                    renewed = time.monotonic()
            writer.finish()
        digest = hasher.hexdigest()
        ready = {"state": "ready", "digest": digest, "size": size}
        self._change(blob, {"$set": ready, "$currentDate": {"touched": True}})
        return Content(digest, size, blob=blob)

    def _begin(self) -> ObjectId:
        if not self._indexed:
            self._parts.create_index([("blob", 1), ("n", 1)], unique=True)
            self._blobs.create_index("digest", sparse=True)
            self._blobs.create_index([("state", 1), ("touched", 1)])
            self._indexed = True
        blob = ObjectId()
        pending = {"$set": {"state": "pending"}, "$currentDate": {"created": True, "touched": True}}
        self._blobs.update_one({"_id": blob}, pending, upsert=True)
        return blob

    def _change(self, blob: ObjectId, change: dict[str, Any]) -> None:
        if not self._blobs.update_one({"_id": blob, "state": "pending"}, change).matched_count:
            raise _collected()

    def _read(self, content: Content, ref: str) -> Iterable[bytes]:
        if content.blob is None:
            return () if content.data is None else (content.data,)
        return read(self._parts, content.blob, content.size, ref)

    def _fetch(self, content: Content, blob: ObjectId, ref: str) -> memoryview:
        """Read a blob into a file, or into memory, and verify it."""
        from nemesyst.database.raw.allocator import keep_large_blocks  # here: who reads no blob needs none of it

        keep_large_blocks()
        with translated(f"load {ref}"):
            count(self._parts, blob, content.size, ref)
            try:
                landing = self._landing(content)
                if landing is not None:
                    with closing(landing):
                        read_into(self._parts, blob, content.size, ref, landing.write)
                        found = _verified(landing.mapped(content.size), content, ref)
                        landing.keep(content.digest)
                    return found
            except OSError as error:  # of the file: the driver's errors are others
                if self._cache is not None:
                    self._cache.refuse(error)
            buffer = room_for(content.size)

            def put(begin: int, data: bytes) -> None:
                buffer[begin : begin + len(data)] = data

            read_into(self._parts, blob, content.size, ref, put)
        return _verified(buffer.toreadonly(), content, ref)

    def _landing(self, content: Content) -> Landing | None:
        """The file to read into; None: into memory."""
        landing = None if self._cache is None else self._cache.begin(content.size)
        if landing is None and content.size > _LARGE and os.name == "posix":
            from nemesyst.database.nodecache import Landing  # here: other systems lack its file locks

            landing = Landing(None)
        return landing


def _verified(view: memoryview, content: Content, ref: str) -> memoryview:
    """What was read, if it is what was saved.

    Raises:
        CorruptBlobError: It is not.
    """
    if (found := digest_of(view)) != content.digest:
        raise corrupt(ref, f"BLAKE3 {content.digest}", found)
    return view


def _looked_through(pieces: Iterable[Buffer]) -> tuple[str, int, bytes]:
    """Digest and size of pieces, and all of their bytes if they are few enough to be held."""
    hasher, size, held = blake3(), 0, bytearray()
    for piece in pieces:
        here = memoryview(piece).nbytes
        if size + here <= _HELD:
            held += piece
        else:
            hasher.update(held)
            hasher.update(piece)
            held = bytearray()
        size += here
    if size <= _HELD:
        hasher.update(held)
    return hasher.hexdigest(), size, bytes(held) if size <= _HELD else b""


def _collected() -> CollectedError:
    return CollectedError("the stored bytes were collected before a record named them", "Save again.")
