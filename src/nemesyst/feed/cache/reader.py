"""What can be read of an entry: chunks found in the journal, checked once, given as views of the memory map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.cache.coded import decode
from nemesyst.feed.cache.journal import Journal, Record
from nemesyst.feed.cache.schema import PLAIN, Schema
from nemesyst.feed.cache.streams import Stream
from nemesyst.feed.cache.warn import warn
from nemesyst.feed.table import Array, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.cache.folder import Folder


class Reader:
    """The readable side of an entry; its methods that change it are called by one thread at a time.

    Attributes:
        schema: The columns; none until a first chunk has been stored.
        streams: Their files.
        records: The record of each chunk that is there, as far as is known.
        checked: Those whose bytes match, and are mapped.
        taken: For each stream the items that records name.
    """

    def __init__(self, folder: Folder) -> None:
        self.schema = Schema([])
        self.streams: list[Stream] = []
        self.records: dict[int, Record] = {}
        self.checked: dict[int, Record] = {}
        self.taken: list[int] = []
        self.journal: Journal | None = None
        self._folder = folder

    def begin(self, journal: Journal) -> None:
        """Read from this journal on."""
        self.schema = journal.schema
        self.streams = [Stream(self._folder, spec) for spec in journal.schema.streams]
        self.taken = [0] * len(self.streams)
        self.journal = journal

    def refresh(self) -> None:
        """Learn of the chunks that have been stored since, here or by others.

        Raises:
            DamagedError: The journal is damaged.
            OSError: It cannot be read.
        """
        journal = self.journal or Journal.open(self._folder)
        if journal is None:
            return
        if self.journal is None:
            self.begin(journal)
        for record in journal.news():
            self.records[record.chunk] = record
            self.checked.pop(record.chunk, None)
            ends = zip(self.taken, record.starts, record.counts, strict=True)
            self.taken = [max(taken, start + count) for taken, start, count in ends]

    def check(self, chunk: int) -> Record | None:
        """Find a chunk and, the first time, map it and compare its bytes with the digests.

        Raises:
            DamagedError: The journal is damaged.
            OSError: A file cannot be read.
        """
        if chunk not in self.records:
            self.refresh()
        record = self.checked.get(chunk) or self.records.get(chunk)
        if record is None or chunk in self.checked:
            return record
        for stream, start, count, digest in zip(
            self.streams, record.starts, record.counts, record.digests, strict=True
        ):
            if not stream.reach(start + count) or stream.digest(start, count) != digest:
                del self.records[chunk]
                warn(
                    f"{self._folder.path / stream.spec.file}: the cached rows of chunk {chunk} are damaged; "
                    "they are read from the database and stored again"
                )
                return None
        self.checked[chunk] = record
        return record

    def table(self, record: Record) -> Table:
        """The arrays of a checked chunk."""
        arrays: dict[str, Array] = {}
        for column, first, width in zip(self.schema.columns, self.schema.first, record.widths, strict=True):
            rows = self.streams[first].items[record.starts[first] : record.starts[first] + record.rows]
            if column.kind != PLAIN:
                start, count = record.starts[first + 1], record.counts[first + 1]
                rows = self._values(first, slice(start, start + count), column.kind, width)[rows - start]
            arrays[column.name] = rows
        return Table(arrays)

    def whole(self, records: Sequence[Record]) -> tuple[dict[str, Array], Array]:
        """The columns over all rows of the entry, and where the checked chunks begin in them."""
        columns = zip(self.schema.columns, self.schema.first, strict=True)
        starts = np.array([record.starts[0] for record in records], np.int64)
        return {column.name: self.streams[first].items for column, first in columns}, starts

    def decode(self, name: str, codes: Array, records: Sequence[Record]) -> Array:
        """Texts or objects of codes out of checked chunks; texts as wide as the widest of these chunks' arrays."""
        number = [column.name for column in self.schema.columns].index(name)
        width = max((record.widths[number] for record in records), default=1)
        wanted, rows = np.unique(codes, return_inverse=True)  # only the values that are named are decoded
        values = self._values(self.schema.first[number], wanted, self.schema.columns[number].kind, width)
        decoded: Array = values[rows.reshape(codes.shape)]
        return decoded

    def release(self, record: Record) -> None:
        """Take a chunk's pages out of this process's resident memory."""
        for stream, start, count in zip(self.streams, record.starts, record.counts, strict=True):
            stream.release(start, count)

    def _values(self, first: int, places: Array | slice, kind: str, width: int) -> Array:
        return decode(self.streams[first + 1].items[places], self.streams[first + 2].items, kind, width)
