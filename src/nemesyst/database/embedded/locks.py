"""File locks (``flock``): they end with the process that holds them, however it ends.

A lock is given up by closing its descriptor, never by unlocking: a descriptor that a forked child inherited belongs to
the same lock, so unlocking in the child would take the lock from its parent.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nemesyst.descriptors import passed, passing

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX

_POLL = 0.02  # s

_EXITING = 0x4
"""The kernel's PF_EXITING among the flags in ``/proc/PID/stat``."""


def lock(path: Path, mode: int) -> int:
    """Lock a file, waiting as long as it takes; returns the descriptor that holds the lock."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def try_lock(path: Path, mode: int) -> int | None:
    """Lock a file if that needs no waiting; returns the descriptor, or None."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def lock_within(path: Path, mode: int, seconds: float) -> int | None:
    """Lock a file, waiting at most ``seconds``; returns the descriptor, or None."""
    end = time.monotonic() + seconds
    while (descriptor := try_lock(path, mode)) is None and time.monotonic() < end:
        time.sleep(_POLL)
    return descriptor


@contextmanager
def briefly(path: Path) -> Iterator[int]:
    """Hold the exclusive lock inside a ``with``; a child forked meanwhile, or while waiting, does not keep it."""
    (descriptor,) = passed(lambda: (_open(path),))
    with passing(descriptor):
        fcntl.flock(descriptor, EXCLUSIVE)
        yield descriptor


def is_held(path: Path) -> bool:
    """Whether a process holds the file's exclusive lock; asking disturbs nobody else who asks."""
    if not path.exists():
        return False
    (descriptor,) = passed(lambda: (_open(path),))
    with passing(descriptor):
        try:
            fcntl.flock(descriptor, SHARED | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holders(path: Path) -> list[int]:
    """Processes that have the file open, as far as this user may see them; empty where there is no ``/proc``.

    Open files are looked at, not ``/proc/locks``: that names the process which took a lock, which may have gone while a
    child that it forked still holds it.
    """
    try:
        wanted = path.stat()
        processes = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    except OSError:
        return []
    return sorted(int(process.name) for process in processes if _has_open(process, wanted))


def sign(descriptor: int) -> None:
    """Write into a locked file who holds it, for :func:`is_ending`."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {_process_space()}".encode(), 0)


def is_ending(path: Path) -> bool:
    """Whether the holder that signed a lock is as good as gone: killed, though its lock may be held a moment longer."""
    words = path.read_text(encoding="ascii", errors="replace").split()
    if len(words) != 2 or words[1] != _process_space():  # of another container: not to be seen from here
        return False
    folder = Path("/proc", words[0])
    try:
        status = (folder / "status").read_text(encoding="utf-8", errors="replace")
        flags = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[6])
    except OSError:
        return Path("/proc/self").exists()
    pending = re.search(r"^SigPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    killed = pending is not None and bool(int(pending[1], 16) & 1 << (signal.SIGKILL - 1))
    return killed or bool(flags & _EXITING)


def _process_space() -> str:
    """The process namespace that this process counts in; empty where there is none."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "-"


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    with suppress(OSError):  # gone meanwhile, or another user's
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
