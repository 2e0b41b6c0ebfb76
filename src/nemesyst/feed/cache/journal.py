"""The journal of an entry: which chunk lies where, one record of fixed size for each, appended after its rows.

Records have a checksum each and stand at multiples of their size, so that one that was torn by a kill, or has been
damaged since, is passed over alone. A later record of a chunk goes before an earlier one.
"""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from xxhash import xxh3_64_intdigest

from nemesyst.feed.cache.folder import DamagedError, Folder
from nemesyst.feed.cache.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = 1
NAME = "journal"

_MAGIC = b"nemesyst rows"
_PREFIX = len(_MAGIC) + 3 + 16
"""The magic, the format (3 digits), then length and checksum of the schema (8 bytes each)."""


class Record(NamedTuple):
    """Where a chunk's rows are.

    Attributes:
        chunk: Its number.
        rows: How many rows it has.
        widths: For each column the characters of its text array.
        starts: For each stream its first item.
        counts: For each stream its number of items.
        digests: For each stream the xxh3 of the items' bytes.
    """

    chunk: int
    rows: int
    widths: Sequence[int]
    starts: Sequence[int]
    counts: Sequence[int]
    digests: Sequence[int]


class Journal:
    """An open journal; made by :meth:`open` or :meth:`create`."""

    def __init__(self, folder: Folder, schema: Schema, header: int) -> None:
        columns, streams = len(schema.columns), len(schema.streams)
        self.schema = schema
        self._folder = folder
        self._header = header
        self._dtype = np.dtype(
            [
                ("chunk", "<i8"),
                ("rows", "<i8"),
                ("widths", "<i8", (columns,)),
                ("starts", "<i8", (streams,)),
                ("counts", "<i8", (streams,)),
                ("digests", "<u8", (streams,)),
                ("check", "<u8"),
            ]
        )
        self._next = 0

    @classmethod
    def open(cls, folder: Folder) -> Journal | None:
        """Open the journal of a folder; None if there is none yet.

        Raises:
            DamagedError: It is damaged, foreign, or of another format.
            OSError: It cannot be read.
        """
        try:
            with folder.opened(NAME, os.O_RDONLY) as descriptor:
                prefix = os.pread(descriptor, _PREFIX, 0)
                length, check = _understand(prefix)
                text = os.pread(descriptor, length, _PREFIX)
        except FileNotFoundError:
            return None
        if len(text) != length or xxh3_64_intdigest(text) != check:
            raise DamagedError("its journal is damaged")
        try:
            return cls(folder, Schema.from_json(json.loads(text)), _PREFIX + length)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"its journal is damaged: {error}") from None

    @classmethod
    def create(cls, folder: Folder, schema: Schema) -> Journal:
        """Begin the journal; to be called with the folder's writing lock held."""
        text = json.dumps(schema.as_json()).encode()
        prefix = _MAGIC + b"%03d" % FORMAT + len(text).to_bytes(8, "little")
        with folder.opened(f"{NAME}.part", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as descriptor:
            write_all(descriptor, prefix + xxh3_64_intdigest(text).to_bytes(8, "little") + text, 0)
        folder.replace(f"{NAME}.part", NAME)
        return cls(folder, schema, _PREFIX + len(text))

    def news(self) -> list[Record]:
        """Records that have been written since the last call, whole ones alone; none where the files were deleted."""
        try:
            with self._folder.opened(NAME, os.O_RDONLY) as descriptor:
                room = os.fstat(descriptor).st_size - self._at(self._next)
                raw = os.pread(descriptor, room, self._at(self._next)) if room >= self._dtype.itemsize else b""
        except FileNotFoundError:
            return []
        found = np.frombuffer(raw, self._dtype, len(raw) // self._dtype.itemsize)
        whole = [i for i in range(len(found)) if _is_whole(found[i : i + 1])]
        if whole:  # writers come one after another: what is torn before a whole record stays torn
            self._next += whole[-1] + 1
        return [_record(found[i]) for i in whole]

    def append(self, record: Record) -> None:
        """Write a record; to be called with the folder's writing lock held."""
        packed = np.zeros(1, self._dtype)
        packed[0] = (*record, 0)
        packed["check"] = _check(packed)
        with self._folder.opened(NAME, os.O_RDWR) as descriptor:
            taken = os.fstat(descriptor).st_size - self._header
            write_all(descriptor, packed.tobytes(), self._at(-(-taken // self._dtype.itemsize)))

    def _at(self, slot: int) -> int:
        return self._header + slot * self._dtype.itemsize


def count(path: Path) -> tuple[int, int]:
    """Chunks and rows of an entry that may be in use, as its journal says; none where it is damaged."""
    with suppress(DamagedError, OSError), closing(Folder(path, use=False)) as folder:
        journal = Journal.open(folder)
        if journal is not None:
            rows = {record.chunk: record.rows for record in journal.news()}
            return len(rows), sum(rows.values())
    return 0, 0


def write_all(descriptor: int, data: bytes | memoryview, at: int) -> None:
    """Write at a place, however many calls that takes."""
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


def _understand(prefix: bytes) -> tuple[int, int]:
    version = prefix[len(_MAGIC) : len(_MAGIC) + 3]
    if len(prefix) < _PREFIX or not prefix.startswith(_MAGIC):
        raise DamagedError("its journal is not one of ours, or damaged")
    if version != b"%03d" % FORMAT:
        raise DamagedError(f"its journal is of format {version.decode('ascii', 'replace')}, this is {FORMAT:03d}")
    length, check = (int.from_bytes(prefix[at : at + 8], "little") for at in (_PREFIX - 16, _PREFIX - 8))
    if length > 1 << 30:
        raise DamagedError("its journal is damaged")
    return length, check


def _check(packed: np.ndarray[Any, Any]) -> int:
    return xxh3_64_intdigest(packed.tobytes()[:-8])


def _is_whole(packed: np.ndarray[Any, Any]) -> bool:
    return int(packed["check"][0]) == _check(packed)


def _record(packed: Any) -> Record:
    lists = (packed[name].tolist() for name in ("widths", "starts", "counts", "digests"))
    return Record(int(packed["chunk"]), int(packed["rows"]), *lists)
