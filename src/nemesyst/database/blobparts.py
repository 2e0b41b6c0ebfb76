"""Parts of a blob: cutting bytes into them, writing them behind, reading them in order."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from blake3 import blake3

from nemesyst.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from bson import ObjectId
    from pymongo.collection import Collection

    Buffer = bytes | bytearray | memoryview

PART = 255 * 1024
"""Bytes of a part; with its names a part's document stays under 256 KB."""

PARTS_A_CALL = 32
"""Parts of a write, 8 MB."""

PARTS_A_REPLY = 4
"""Parts of a read: replies of about 1 MB are the fastest."""

WINDOW = 64 << 20
"""Bytes of a map that are hashed at a time; of a larger file no more than that is in this process's memory at once."""

_HUGE = 4 << 20
"""Bytes from which memory is taken in huge pages, of 2 MB on most systems."""

_READERS, _MANY = 3, 32
"""Threads that read a blob of many parts side by side, and how many are many."""


def parts_of(size: int) -> int:
    """How many parts so many bytes have."""
    return -(-size // PART)


def cut(pieces: Iterable[Buffer]) -> Iterator[bytes]:
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


class PartWriter:
    """Writes the parts of one blob in a thread, one call behind: the next parts are made meanwhile.

    Args:
        parts: The collection of parts.
        blob: The blob.
    """

    def __init__(self, parts: Collection[dict[str, Any]], blob: ObjectId) -> None:
        self._parts, self._blob = parts, blob
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nemesyst-blob")
        self._running: Future[Any] | None = None
        self._held: list[dict[str, Any]] = []
        self._n = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def add(self, part: bytes) -> bool:
        """Add the next part; whether a call was made for it and those before."""
        self._held.append({"blob": self._blob, "n": self._n, "data": part})
        self._n += 1
        if len(self._held) < PARTS_A_CALL:
            return False
        self._send()
        return True

    def finish(self) -> None:
        """Wait until all parts are there."""
        if self._held:
            self._send()
        if self._running is not None:
            self._running.result()

    def _send(self) -> None:
        if self._running is not None:
            self._running.result()
        self._running = self._thread.submit(self._parts.insert_many, self._held)
        self._held = []


def read(parts: Collection[dict[str, Any]], blob: ObjectId, size: int, ref: str) -> Iterator[bytes]:
    """The parts of a blob in order, each of the size that it must have.

    Raises:
        CorruptBlobError: A part lacks, is too many, or is something else.
    """
    return _range(parts, blob, size, ref, range(count(parts, blob, size, ref)))


def read_into(
    parts: Collection[dict[str, Any]], blob: ObjectId, size: int, ref: str, put: Callable[[int, bytes], None]
) -> None:
    """Hand the parts of a blob to ``put``, with the place of their first byte; those of a large one in any order.

    Raises:
        CorruptBlobError: A part lacks, is too many, or is something else.
    """
    number = parts_of(size)
    share = number if number < _MANY else -(-number // _READERS)

    def fill(begin: int) -> None:
        for n, data in enumerate(_range(parts, blob, size, ref, range(begin, min(begin + share, number))), begin):
            put(n * PART, data)

    begins = range(0, number, share)
    if len(begins) < 2:
        fill(0)
        return
    with ThreadPoolExecutor(len(begins), thread_name_prefix="nemesyst-blob") as threads:
        for _ in threads.map(fill, begins):
            pass


def count(parts: Collection[dict[str, Any]], blob: ObjectId, size: int, ref: str) -> int:
    """How many parts a blob has; to be asked before room is made: a record that claims terabytes must not take them.

    Raises:
        CorruptBlobError: They are more or fewer than its size needs.
    """
    expected, found = parts_of(size), parts.count_documents({"blob": blob})
    if found != expected:
        raise corrupt(ref, f"{expected} parts", f"{found}")
    return expected


def _range(parts: Collection[dict[str, Any]], blob: ObjectId, size: int, ref: str, wanted: range) -> Iterator[bytes]:
    n, between = wanted.start, {"$gte": wanted.start, "$lt": wanted.stop}
    query = {"blob": blob} if len(wanted) == parts_of(size) else {"blob": blob, "n": between}
    with parts.find(query, {"_id": 0, "n": 1, "data": 1}, batch_size=PARTS_A_REPLY).sort("n", 1) as cursor:
        for part in cursor:
            yield _checked(part, n, min(PART, size - n * PART), ref)
            n += 1
    if n != wanted.stop:
        raise corrupt(ref, f"{len(wanted)} parts from {wanted.start}", f"{n - wanted.start}")


def room_for(size: int) -> memoryview:
    """Room for so many bytes, writable: for many of them in huge pages, where the system has them.

    To fill fresh memory of 4 KB pages from several threads costs more than what is written into it.
    """
    if size < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(bytearray(size))
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        made.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(made)


def digest_of(view: memoryview) -> str:
    """The BLAKE3 of a buffer, in hex; pages of a large file that is mapped for reading are given back on the way."""
    hasher = blake3(max_threads=blake3.AUTO)
    mapped: Any = view.obj if isinstance(view.obj, mmap.mmap) and len(view) > WINDOW else None
    if mapped is not None and not memoryview(mapped).readonly:  # room of ours: its pages are the only copy
        mapped = None
    for begin in range(0, len(view), WINDOW):
        hasher.update(view[begin : begin + WINDOW])
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED, begin, min(WINDOW, len(view) - begin))
    return hasher.hexdigest()


def _checked(part: dict[str, Any], n: int, room: int, ref: str) -> bytes:
    data = part.get("data")
    if part["n"] != n or not isinstance(data, bytes) or len(data) != room or room <= 0:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise corrupt(ref, f"part {n} of {room} bytes", f"part {part['n']}, {found}")
    return data


def corrupt(ref: str, expected: str, found: str) -> CorruptBlobError:
    """The error of bytes that are not the ones that were saved."""
    return CorruptBlobError(
        f"the stored bytes of {ref} are not the ones that were saved: expected {expected}, found {found}",
        "Use another version, or save this one again; find out who writes to the state database.",
    )
