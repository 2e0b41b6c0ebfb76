"""One plan's rows in the cache."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nemesyst.feed.cache.coded import UnfitError
from nemesyst.feed.cache.folder import DamagedError
from nemesyst.feed.cache.journal import Journal, Record
from nemesyst.feed.cache.reader import Reader
from nemesyst.feed.cache.region import reserve, write
from nemesyst.feed.cache.schema import PLAIN, Schema
from nemesyst.feed.cache.warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nemesyst.feed.cache.folder import Folder
    from nemesyst.feed.table import Array, Table


class Entry:
    """The rows of one plan; made by ``Cache.entry``; for threads, forked children and other processes at once.

    A chunk is compared with its digests once in each process, when it is first asked for; one that does not match
    counts as absent, with a warning, and may be stored again. Pickled, an entry is opened anew where it arrives.

    Args:
        key: Of the plan.
        about: Small JSON for ``nemesyst cache list``.
        folder: Its open folder; None: nothing is there, and nothing is kept.
        admit: Makes room for so many bytes, and says why there is none.
        reopen: Function and arguments that open the entry in another process.
    """

    def __init__(
        self,
        key: str,
        about: Mapping[str, Any],
        folder: Folder | None,
        admit: Callable[[int], str | None],
        reopen: tuple[Callable[..., Entry], tuple[Any, ...]],
    ) -> None:
        self.key = key
        self._what = f"rows of {about['collection']}" if "collection" in about else f"rows under {key[:12]}"
        self._folder = folder
        self._reader = Reader(folder) if folder is not None else None
        self._keeps = folder is not None
        self._admit = admit
        self._reopen = reopen
        self._renew_locks()
        _living.add(self)
        if folder is not None:
            weakref.finalize(self, folder.close)

    def __reduce__(self) -> tuple[Callable[..., Entry], tuple[Any, ...]]:
        return self._reopen

    def __repr__(self) -> str:
        return f"<cached {self._what}, {len(self.chunks())} chunks>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def coded(self) -> frozenset[str]:
        """Names of the arrays of texts and objects: :meth:`whole` gives their codes, :meth:`decode` their values."""
        columns = self._reader.schema.columns if self._reader is not None else []
        return frozenset(column.name for column in columns if column.kind != PLAIN)

    def get(self, chunk: int) -> Table | None:
        """The rows of a chunk, or None.

        Arrays are read-only views of the memory map, without a copy, and stay valid after :meth:`close` and after the
        files are deleted; those of texts and objects are decoded, each time.
        """
        reader = self._reader
        if reader is None:
            return None
        record = reader.checked.get(chunk) or self._checked(chunk)
        return None if record is None else reader.table(record)

    def chunks(self) -> set[int]:
        """The chunks that are there, as the journal says."""
        with self._guard:
            if self._reader is None:
                return set()
            try:
                self._reader.refresh()
            except (DamagedError, OSError) as error:
                self._stop(error)
            return set(self._reader.records)

    def whole(self, chunks: Sequence[int]) -> tuple[dict[str, Array], Array] | None:
        """All rows of the entry, for gathering from several chunks at once; None unless all ``chunks`` are there.

        Only rows of ``chunks`` have been checked, and only they may be used; the others' place can be a hole.

        Returns:
            For each array one read-only memory map, shape (rows, *shape), the same rows in all of them; those of texts
            and objects hold int32 codes. And the first row of each of ``chunks``, int64.
        """
        found = self._all_checked(chunks)
        if found is None or self._reader is None:
            return None
        return self._reader.whole(found)

    def counts(self, chunks: Sequence[int]) -> Array | None:
        """How many rows each of these chunks has, int64; None unless all are there."""
        found = self._all_checked(chunks)
        return None if found is None else np.array([record.rows for record in found], np.int64)

    def decode(self, name: str, codes: Array, chunks: Sequence[int]) -> Array:
        """The texts or objects that ``whole`` gave the codes of.

        Args:
            name: Of the array, one of :attr:`coded`.
            codes: Any of its codes in these chunks, of any shape.
            chunks: Those given to ``whole``; a text array is as wide as the widest of theirs.

        Raises:
            LookupError: The chunks are not there.
        """
        found = self._all_checked(chunks)
        if found is None or self._reader is None:
            raise LookupError(f"chunks {list(chunks)} are not all in the cache")
        return self._reader.decode(name, codes, found)

    def release(self, chunks: Iterable[int]) -> None:
        """Take these chunks out of this process's resident memory; they stay readable, out of the page cache."""
        if (reader := self._reader) is not None:
            for record in filter(None, map(reader.checked.get, chunks)):
                reader.release(record)

    def put(self, chunk: int, table: Table) -> None:
        """Store the rows of a chunk, unless they are there already; the first to store them wins.

        Never raises for what a disk or a folder does: it warns once, and the entry takes no more rows.
        """
        if not self._keeps or not table.arrays or (self._reader is not None and chunk in self._reader.records):
            return
        with self._putting:
            if not self._keeps or self._folder is None or self._reader is None:
                return
            try:
                self._store(self._folder, self._reader, chunk, table)
            except TimeoutError:  # someone who reserves room has been stopped: these rows are not kept, others may be
                return
            except (UnfitError, DamagedError, OSError) as error:
                self._stop(error)

    def close(self) -> None:
        """End the use of the entry by this process; arrays that it gave stay valid."""
        with self._putting, self._guard:
            self._keeps, self._reader = False, None
            if self._folder is not None:
                self._folder.touch()
                self._folder.close()

    def _checked(self, chunk: int) -> Record | None:
        with self._guard:
            if self._reader is None:
                return None
            try:
                return self._reader.check(chunk)
            except (DamagedError, OSError) as error:
                self._stop(error)
                return None

    def _all_checked(self, chunks: Sequence[int]) -> list[Record] | None:
        known = self._reader.checked if self._reader is not None else {}
        found = [known.get(chunk) or self._checked(chunk) for chunk in chunks]
        records = [record for record in found if record is not None]
        return records if len(records) == len(found) else None

    def _store(self, folder: Folder, reader: Reader, chunk: int, table: Table) -> None:
        schema = Schema.of(table)
        parts = schema.encode(table)
        reason = self._admit(sum(part.nbytes for part in parts))
        if reason is not None:
            raise UnfitError(reason)
        with folder.writing():
            if self._is_there(reader, chunk):
                return
            if reader.journal is None:
                with self._guard:
                    reader.begin(Journal.create(folder, schema))
            if schema != reader.schema:
                raise UnfitError(f"chunk {chunk} has {schema}; stored are {reader.schema}")
            if [column.name for column in schema.columns] != [column.name for column in reader.schema.columns]:
                schema, parts = reader.schema, reader.schema.encode(table)
            starts = reserve(reader.streams, [len(part) for part in parts], reader.taken)
        digests = write(schema, reader.streams, starts, parts)
        counts = [len(part) for part in parts]
        with folder.writing():
            if reader.journal is not None and not self._is_there(reader, chunk):
                reader.journal.append(Record(chunk, table.rows, schema.widths(table), starts, counts, digests))

    def _is_there(self, reader: Reader, chunk: int) -> bool:
        with self._guard:
            reader.refresh()
            return chunk in reader.records

    def _stop(self, error: Exception) -> None:
        if self._keeps:
            self._keeps = False
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            if isinstance(error, FileNotFoundError):
                reason = "its files have been deleted"
            where = self._folder.path.parent if self._folder is not None else "?"
            warn(f"the cache in {where} keeps no more {self._what}: {reason}. They are read from the database instead.")

    def _renew_locks(self) -> None:
        self._guard = threading.RLock()
        self._putting = threading.Lock()


_living: weakref.WeakSet[Entry] = weakref.WeakSet()


def _renew_in_child() -> None:
    """A lock that another thread held during a fork would be held in the child for good."""
    for entry in _living:
        entry._renew_locks()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_renew_in_child)
