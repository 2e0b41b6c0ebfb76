"""Verified blobs on this node's disk: files named by their BLAKE3, mapped into memory read-only.

A file is written under a name of its own, hashed on the way, and then renamed: under its last name it is whole. It is
verified again whenever it is opened. Files may be deleted at any time; what is mapped stays readable.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import tempfile
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nemesyst.database.blobparts import WINDOW, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.settings import Settings

_NAME = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"
_SHARE = 4
"""One in so many of the bytes of ``cache_size`` is for blobs, beside the decoded rows."""

_SPARE = 1_000_000_000
"""Bytes of the disk that are left free, or a twentieth of a small disk: the database may live there too."""

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class BlobCacheWarning(UserWarning):
    """The cache of verified blobs is damaged, full or not writable; models are read from the database instead."""


class NodeCache:
    """Verified blobs in a folder, for any number of processes, at most so many bytes of them, the last used ones.

    Args:
        folder: Where; made when the first blob is kept.
        limit: Bytes that all files may take together; 0: nothing is kept.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - resolve() would follow links
        self.limit = limit

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The cache that the settings name: ``blobs`` in the folder ``cache``, of a quarter of ``cache_size``."""
        root = settings.cache if settings.cache is not None else settings.home / "cache"
        return cls(root / "blobs", int(settings.cache_size * 1e9) // _SHARE)

    def open(self, digest: str, size: int) -> memoryview | None:
        """A kept blob, verified and mapped; None where it is not kept, or no longer what it was."""
        if not self.limit or not _NAME.fullmatch(digest):
            return None
        path = self.folder / digest
        try:
            descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        except OSError:
            return None
        try:
            found = _mapped(descriptor, size)
        finally:
            os.close(descriptor)
        if found is None or digest_of(found) != digest:
            _warn(f"{path} is damaged; the model is read from the database")
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # it was used now
        return found

    def begin(self, size: int) -> Landing | None:
        """Where a blob of so many bytes may be written; None where there is no room for it."""
        if not 0 < size <= self.limit:
            return None
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self.folder / ".gitignore").write_text("*\n", encoding="ascii")
            self._make_room(size)
            return Landing(self.folder)
        except OSError as error:
            self.refuse(error)
            return None

    def refuse(self, error: OSError) -> None:
        """Say why a blob is not kept."""
        _warn(f"the model is not kept in {self.folder}: {error.strerror or error}")

    def files(self) -> list[tuple[Path, int, float]]:
        """Kept blobs with their bytes and the time when they were last used (s since 1970), the last used first."""
        return sorted(self._files(_NAME), key=lambda file: -file[2])

    def clear(self) -> int:
        """Delete all; the bytes that were freed."""
        return sum(size for path, size, _ in self.files() if _deleted(path))

    def _files(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, int, float]]:
        with suppress(OSError), os.scandir(self.folder) as found:
            for file in found:
                if pattern.match(file.name):
                    with suppress(OSError):
                        status = file.stat(follow_symlinks=False)
                        yield Path(file.path), status.st_size, status.st_mtime

    def _make_room(self, size: int) -> None:
        """Delete the blobs that were not used for longest, and what killed processes left.

        Raises:
            OSError: The disk is too full.
        """
        for path, _, _ in list(self._files(re.compile(re.escape(_NEW)))):
            _delete_if_dead(path)
        kept = self.files()
        wanted = max(sum(file[1] for file in kept) + size - self.limit, self._disk_short(size))
        for path, freed, _ in reversed(kept):
            if wanted <= 0:
                break
            wanted -= freed if _deleted(path) else 0
        if self._disk_short(size) > 0:
            raise OSError("the disk is nearly full")

    def _disk_short(self, size: int) -> int:
        disk = os.statvfs(self.folder)
        return size + min(_SPARE, disk.f_blocks * disk.f_frsize // 20) - disk.f_bavail * disk.f_frsize


class Landing:
    """A file that a blob is written into; it goes unless it is kept, also when this process is killed.

    Args:
        folder: The cache's; None: a file without a name, which is never kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / f"{_NEW}{uuid.uuid4().hex}"
        if self._path is None:
            self._file: Any = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
        else:
            self._file = self._path.open("x+b", buffering=0)
            os.fchmod(self._file.fileno(), 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who can take it knows that its writer is dead

    def write(self, begin: int, data: bytes) -> None:
        """Write at a place; from any thread.

        Raises:
            OSError: The disk is full.
        """
        view, descriptor = memoryview(data), self._file.fileno()
        while view:
            written = os.pwrite(descriptor, view, begin)
            view, begin = view[written:], begin + written

    def mapped(self, size: int) -> memoryview:
        """What was written, read-only."""
        found = _mapped(self._file.fileno(), size)
        if found is None:
            raise OSError("the file was changed while it was written")
        return found

    def keep(self, digest: str) -> None:
        """Give the file its name in the cache, whole and verified by whoever wrote it."""
        if self._path is not None:
            self._path.rename(self._path.with_name(digest))
            self._path = None

    def close(self) -> None:
        """Close it; what is mapped stays."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        self._file.close()


def _mapped(descriptor: int, size: int) -> memoryview | None:
    """A file of that size as a view; None if it has another, or none (nothing can be mapped of it)."""
    if os.fstat(descriptor).st_size != size or size < 1:
        return None
    # all pages of a small one at once: one by one they would cost more than to hash them
    ahead = mmap.MAP_POPULATE if size <= WINDOW and hasattr(mmap, "MAP_POPULATE") else 0
    return memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | ahead, prot=mmap.PROT_READ))


def _delete_if_dead(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _warn(message: str) -> None:
    warnings.warn(message, BlobCacheWarning, stacklevel=4)
