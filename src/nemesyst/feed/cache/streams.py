"""The files of an entry's columns: written at reserved places, read through a memory map that grows with need."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from xxhash import xxh3_64_intdigest

from nemesyst.feed.cache.journal import write_all

if TYPE_CHECKING:
    from nemesyst.feed.cache.folder import Folder
    from nemesyst.feed.cache.schema import StreamSpec
    from nemesyst.feed.table import Array


class Stream:
    """One file of items.

    Attributes:
        spec: What it holds.
        items: The mapped items, read-only, shape (items, *shape); as many as were there when it was last needed.
    """

    def __init__(self, folder: Folder, spec: StreamSpec) -> None:
        self.spec = spec
        self.items = np.empty((0, *spec.shape), spec.dtype)
        self._folder = folder
        self._map: mmap.mmap | None = None

    def reach(self, end: int) -> bool:
        """Map at least ``end`` items; False if the file has fewer.

        Raises:
            OSError: The file cannot be opened or mapped.
        """
        if end <= len(self.items):
            return True
        if not self.spec.item:  # rows without a value, such as of shape (rows, 0)
            self.items = np.empty((end, *self.spec.shape), self.spec.dtype)
            return True
        try:
            with self._folder.opened(self.spec.file, os.O_RDONLY) as descriptor:
                here = os.fstat(descriptor).st_size // self.spec.item
                if here < end:
                    return False
                self._map = mmap.mmap(descriptor, here * self.spec.item, prot=mmap.PROT_READ)
        except FileNotFoundError:
            return False
        items = np.frombuffer(self._map, self.spec.dtype).reshape(here, *self.spec.shape)
        self.items = items  # the old map goes with the last array over it
        return True

    def digest(self, start: int, count: int) -> int:
        """The xxh3 of some mapped items; brings them into memory, by long reads where they are on disk."""
        self._advise(start, count, mmap.MADV_WILLNEED)
        return digest(self.items[start : start + count])

    def release(self, start: int, count: int) -> None:
        """Take some items out of this process's resident memory; they stay mapped, and in the system's page cache."""
        self._advise(start, count, mmap.MADV_DONTNEED)

    def size(self) -> int:
        """Items that the file has room for, a torn last one included."""
        if not self.spec.item:
            return 0
        try:
            with self._folder.opened(self.spec.file, os.O_RDONLY) as descriptor:
                return -(-os.fstat(descriptor).st_size // self.spec.item)
        except FileNotFoundError:
            return 0

    def extend(self, end: int) -> None:
        """Make the file long enough for ``end`` items; to be called with the folder's writing lock held."""
        if self.spec.item:
            with self._folder.opened(self.spec.file, os.O_RDWR | os.O_CREAT) as descriptor:
                if os.fstat(descriptor).st_size < end * self.spec.item:
                    os.truncate(descriptor, end * self.spec.item)

    def write(self, start: int, values: Array) -> None:
        """Write items at their reserved place, straight from the array."""
        if values.nbytes:
            with self._folder.opened(self.spec.file, os.O_RDWR) as descriptor:
                write_all(descriptor, _as_bytes(values), start * self.spec.item)

    def _advise(self, start: int, count: int, advice: int) -> None:
        if self._map is None or not count:
            return
        first = start * self.spec.item // mmap.PAGESIZE * mmap.PAGESIZE
        length = (start + count) * self.spec.item - first
        with suppress(OSError):
            self._map.madvise(advice, first, length)


def digest(values: Array) -> int:
    """The xxh3 (64 bits) of an array's bytes."""
    return xxh3_64_intdigest(_as_bytes(values))


def _as_bytes(values: Array) -> memoryview:
    return values.reshape(-1).view(np.uint8).data  # dates have no buffer of their own
