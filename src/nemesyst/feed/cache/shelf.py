"""The folder that holds the entries: opening, making, retiring and deleting them, one process at a time."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nemesyst.feed.cache import locks
from nemesyst.feed.cache.folder import USERS, DamagedError, Folder, in_use, make_folder
from nemesyst.feed.cache.journal import Journal
from nemesyst.feed.cache.warn import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KEY = re.compile(r"[0-9a-f]{8,128}")
_ENDING, _LOCK, _NEW, _OLD = ".rows", "cache.lock", ".new-", ".old-"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

_SPARE = 1_000_000_000
"""Bytes of the disk that are left free, or a twentieth of a small disk: the database may live there too."""


class Shelf:
    """A folder of entries; what else is in it is left alone.

    An entry is made and retired by renaming its folder under the lock, so it is there as a whole or not at all.

    Args:
        folder: Where; made with the first entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """The folder of an entry.

        Raises:
            ValueError: The key is not hexadecimal.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of the cache: 8 to 128 hexadecimal digits are expected")
        return self.folder / f"{key}{_ENDING}"

    def paths(self) -> list[Path]:
        """The folders of all entries."""
        try:
            found = sorted(self.folder.iterdir())
        except OSError:
            return []
        return [path for path in found if path.suffix == _ENDING and _KEY.fullmatch(path.stem) and path.is_dir()]

    @contextmanager
    def locked(self, seconds: float = 10.0) -> Iterator[None]:
        """Hold the lock of the folder; without one where the folder may only be read, or is not there.

        Raises:
            TimeoutError: It was not to be had in ``seconds``: its holder has been stopped.
        """
        with ExitStack() as held:
            try:
                held.enter_context(locks.briefly(self._lock_file, seconds))
            except OSError as error:
                if error.errno not in (*_READ_ONLY, errno.ENOENT):
                    raise
            yield

    def open(self, path: Path, about: Mapping[str, Any]) -> Folder:
        """Open an entry; made if there is none, made anew, with a warning, if it is damaged.

        Raises:
            OSError: The folder cannot be used.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n", encoding="ascii")
        with self.locked():
            try:
                return _opened(path)
            except FileNotFoundError:
                self._delete(_NEW)
            except DamagedError as error:
                warn(f"{path}: {error}; it is made anew")
                path.rename(self._aside())
            make_folder(path, self.folder / f"{_NEW}{uuid.uuid4().hex}", about)
            return _opened(path)

    def retire(self, path: Path) -> bool:
        """Move an unused entry aside, for :meth:`sweep`; to be called with the lock held, which keeps it unused.

        Raises:
            OSError: The folder may only be read.
        """
        if in_use(path):
            return False
        with suppress(FileNotFoundError):  # deleted by hand
            path.rename(self._aside())
        return True

    def evict(self, own: Path, wanted: int) -> int:
        """Retire unused entries, but not ``own``, the longest unused first, until so many bytes are freed; gives them.

        To be called with the lock held.
        """
        freed = 0
        for path in sorted(self.paths(), key=used):
            if freed >= wanted:
                break
            size = size_of(path)
            with suppress(OSError):
                freed += size if path != own and self.retire(path) else 0
        return freed

    def sweep(self) -> None:
        """Delete what has been retired, here or by a process that was killed."""
        self._delete(_OLD)

    def disk_short(self, size: int) -> int:
        """Bytes that the disk lacks for ``size`` more."""
        disk = os.statvfs(self.folder)
        return size + min(_SPARE, disk.f_blocks * disk.f_frsize // 20) - disk.f_bavail * disk.f_frsize

    def _lock_file(self) -> int:
        return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _aside(self) -> Path:
        return self.folder / f"{_OLD}{uuid.uuid4().hex}"

    def _delete(self, beginning: str) -> None:
        with suppress(OSError):
            for path in self.folder.glob(f"{beginning}*"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def used(path: Path) -> float:
    """When an entry was last opened or closed, in s since 1970."""
    with suppress(OSError):
        return (path / USERS).stat().st_mtime
    return 0.0


def size_of(path: Path) -> int:
    """Bytes of an entry's files."""
    size = 0
    with suppress(OSError), os.scandir(path) as files:
        for file in files:
            with suppress(OSError):
                size += file.stat(follow_symlinks=False).st_size
    return size


def _opened(path: Path) -> Folder:
    folder = Folder(path)
    try:
        Journal.open(folder)
    except BaseException:
        folder.close()
        raise
    return folder
