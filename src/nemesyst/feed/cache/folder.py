"""The folder of an entry, held open.

Its files are found through its descriptor, so that a folder that is moved away, and made anew under the same name, is
never mixed with the one in use.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nemesyst.feed.cache import locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

USERS, WRITER, ABOUT = "users.lock", "writer.lock", "about.json"

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class DamagedError(Exception):
    """Files that are not what was written; the message says which and why. Never reaches a user."""


class Folder:
    """An open folder of an entry, marked as in use for as long as it is open, here or in a forked child.

    Args:
        path: An existing folder.
        use: Mark it as in use; without that it may vanish at any time.

    Raises:
        DamagedError: It is no folder of an entry.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, *, use: bool = True) -> None:
        self.path = path
        self.descriptor = -1
        self._users = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            if use:
                self._use()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise DamagedError("it is no folder") from None
            raise

    def open(self, name: str, flags: int) -> int:
        """Open a plain file of the folder.

        Raises:
            FileNotFoundError: There is none, and it is not to be made.
            DamagedError: It is something else: a folder, a link, a pipe.
            OSError: It cannot be opened.
        """
        try:
            descriptor = os.open(name, flags | _FLAGS, 0o600, dir_fd=self.descriptor)
        except OSError as error:
            with suppress(OSError):
                if not stat.S_ISREG(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode):
                    raise DamagedError(f"{name} is no plain file") from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DamagedError(f"{name} is no plain file")
        return descriptor

    @contextmanager
    def opened(self, name: str, flags: int) -> Iterator[int]:
        """Open a file inside a ``with``."""
        descriptor = self.open(name, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of those that reserve room or write into the journal: for a moment each.

        Raises:
            TimeoutError: Its holder has been stopped.
        """
        with locks.briefly(lambda: self.open(WRITER, os.O_RDWR | os.O_CREAT), seconds=2.0):
            yield

    def replace(self, part: str, name: str) -> None:
        """Give a file its name, in place of what has it."""
        os.rename(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def touch(self) -> None:
        """Remember that the entry was used now."""
        with suppress(OSError):
            os.utime(self._users)

    def close(self) -> None:
        """Close the folder; it is in use no longer, unless by others."""
        for descriptor in (self._users, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._users = self.descriptor = -1

    def _use(self) -> None:
        self._users = self._lock_file(USERS)
        if not locks.share(self._users):
            raise BlockingIOError(errno.EAGAIN, f"{USERS} is locked by another program")
        self.touch()

    def _lock_file(self, name: str) -> int:
        try:
            return self.open(name, os.O_RDWR | os.O_CREAT)
        except OSError:  # a folder that may only be read
            return self.open(name, os.O_RDONLY)


def make_folder(path: Path, part: Path, about: Mapping[str, Any]) -> None:
    """Make the folder of an entry, whole or not at all, by way of ``part``."""
    part.mkdir(mode=0o700)
    (part / USERS).touch(0o600)
    (part / WRITER).touch(0o600)
    (part / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    part.rename(path)


def read_about(path: Path) -> dict[str, Any]:
    """What is remembered about an entry; nothing where that is damaged."""
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def in_use(path: Path) -> bool:
    """Whether a process has the entry open; to be asked under the lock of the cache."""
    try:
        descriptor = os.open(path / USERS, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        return not locks.seize(descriptor)
    finally:
        os.close(descriptor)
