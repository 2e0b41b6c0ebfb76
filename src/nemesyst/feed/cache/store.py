"""The cache of a node: its entries, and the room that they may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nemesyst.feed.cache.entry import Entry
from nemesyst.feed.cache.folder import DamagedError, Folder, in_use, read_about
from nemesyst.feed.cache.journal import count
from nemesyst.feed.cache.shelf import Shelf, size_of, used
from nemesyst.feed.cache.warn import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemesyst.settings import Settings

_SHARE = 8
"""One in so many of the bytes that are left may be written before the sizes are looked up again."""

_PATIENCE = 2.0
"""How long storing a chunk waits for a lock, in s; without it the chunk is not kept."""


@dataclass(frozen=True)
class EntryInfo:
    """What is known of an entry.

    Attributes:
        key: Of the plan.
        size: Bytes of its files.
        chunks: How many are stored.
        rows: How many they have.
        used: When it was last opened or closed, UTC.
        in_use: Whether a process has it open.
        about: What was given when it was made: collection, fingerprint, cutoff, created.
    """

    key: str
    size: int
    chunks: int
    rows: int
    used: datetime
    in_use: bool
    about: Mapping[str, Any]


class Cache:
    """Decoded rows on this node's disk, in a folder that may be deleted at any time.

    The folder belongs on a local disk: on a network file system, memory maps and locks hold within one node only.

    Args:
        folder: Where; made with the first entry. Whatever else is in it is left alone.
        limit: Bytes that all entries may take together; 0: nothing is kept.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - resolve() would follow links
        self.limit = limit
        self._shelf = Shelf(self.folder)
        self._allowed = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The cache that the settings name: ``rows`` in the folder ``cache``, of at most ``cache_size`` GB."""
        root = settings.cache if settings.cache is not None else settings.home / "cache"
        return cls(root / "rows", int(settings.cache_size * 1e9))

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.folder, self.limit)

    def entry(self, key: str, about: Mapping[str, Any]) -> Entry:
        """Open the entry of a plan; made if there is none, made anew, with a warning, if it is damaged.

        Where the folder cannot be used, it warns, and the entry keeps nothing.

        Args:
            key: Of the plan, 8 to 128 hexadecimal digits.
            about: Small JSON for ``nemesyst cache list``: collection, fingerprint, cutoff, created.

        Raises:
            ValueError: The key is not hexadecimal.
        """
        path = self._shelf.path(key)
        folder: Folder | None = None
        if self.limit > 0:
            try:
                folder = self._shelf.open(path, about)
            except (DamagedError, OSError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                warn(f"the cache in {self.folder} is not used: {reason}. Rows are read from the database.")
        return Entry(key, about, folder, partial(self._admit, path), (Cache.entry, (self, key, dict(about))))

    def entries(self) -> list[EntryInfo]:
        """All entries, the last used first."""
        with self._shelf.locked():
            found = [_info(path) for path in self._shelf.paths()]
        return sorted(found, key=lambda info: info.used, reverse=True)

    def clear(self, keys: Iterable[str] | None = None) -> int:
        """Delete those entries that no process uses: all of them, or these.

        Returns:
            The bytes that were freed.

        Raises:
            ValueError: A key is not hexadecimal.
            OSError: The folder may only be read.
        """
        wanted = None if keys is None else {self._shelf.path(key) for key in keys}
        with self._shelf.locked():
            paths = [path for path in self._shelf.paths() if wanted is None or path in wanted]
            freed = sum(size for path, size in [(path, size_of(path)) for path in paths] if self._shelf.retire(path))
        self._shelf.sweep()
        return freed

    def _admit(self, path: Path, size: int) -> str | None:
        """Make room for ``size`` more bytes of an entry; says why there is none."""
        reason = self._make_room(path, size) if size > self._allowed else None
        if reason is not None:
            return reason
        self._allowed -= size
        if (short := self._shelf.disk_short(size)) > 0:
            with self._shelf.locked(_PATIENCE):
                self._shelf.evict(path, short)
            self._shelf.sweep()
            if self._shelf.disk_short(size) > 0:
                return "the disk is nearly full"
        return None

    def _make_room(self, path: Path, size: int) -> str | None:
        with self._shelf.locked(_PATIENCE):
            sizes = {path: size_of(path) for path in self._shelf.paths()}
            if sizes.get(path, 0) + size > self.limit:
                return f"they need more than the {self.limit / 1e9:g} GB of the setting cache_size"
            left = self.limit - sum(sizes.values()) - size
            if left < 0:
                left += self._shelf.evict(path, -left)
        self._shelf.sweep()
        if left < 0:
            return f"feeds in use take the {self.limit / 1e9:g} GB of the setting cache_size"
        self._allowed = size + left // _SHARE
        return None


def _info(path: Path) -> EntryInfo:
    """What is known of an entry; to be called with the lock of the shelf held."""
    busy, when = in_use(path), used(path)
    chunks, rows = count(path)
    moment = datetime.fromtimestamp(when, UTC)
    return EntryInfo(path.stem, size_of(path), chunks, rows, moment, busy, read_about(path))
