"""Orders that the database could not take yet, in a file of their own on this node.

The process that wrote a file holds a lock on it and carries it out itself; when it has ended, the next command on this
node does (:func:`catch_up`). A file that was torn in mid-line, by a power cut, loses this line.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nemesyst.database import within
from nemesyst.errors import NemesystError
from nemesyst.run.records.ops import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pymongo.database import Database

    from nemesyst.hub import Hub
    from nemesyst.run.records.ops import Op

    State = Database[dict[str, Any]]

_MOST = 512 << 20
"""Bytes of one file; what comes then is dropped."""
_PATIENCE = 60.0
"""How long one file may take, in s; the next command goes on with it."""
_OLD = 30 * 86400.0
"""A file that nobody could carry out in so many s goes: its database is gone."""


def folder_of(home: Path) -> Path:
    """Where the files of a home are."""
    return home / "spool"


class Spool:
    """A file of orders, made when the first one comes, and gone when the last was carried out.

    Args:
        folder: Where it is made.
        name: What its name begins with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}-{os.getpid()}-{time.time_ns():x}.jsonl"
        self._file: int | None = None
        self._done = 0
        self._size = 0
        self.torn = False
        """Whether something that was written could not be read again."""

    def __bool__(self) -> bool:
        return self._done < self._size

    def append(self, orders: Iterable[Op]) -> None:
        """Write orders behind the others: all of them, or none.

        Raises:
            OSError: There is no room, or no right to.
        """
        data = b"".join(json.dumps(to_json(op)).encode() + b"\n" for op in orders)
        if self._size + len(data) > _MOST:
            raise OSError(None, f"{self._path} is full")
        if self._file is None:
            self._file = self._made()
        self._write(self._file, data)
        self._size += len(data)

    def _write(self, file: int, data: bytes) -> None:
        left, at = memoryview(data), self._size
        try:
            while left:
                count = os.pwrite(file, left, at)  # of a disk that gets full: less than all, then an error
                left, at = left[count:], at + count
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, self._size)  # whole lines only
            raise

    def drain(self, apply: Callable[[Op], None], seconds: float) -> None:
        """Carry out what is there, in order, for so many s; what raises stays, with all that follows.

        Raises:
            NemesystError: The database cannot do it now.
        """
        end = time.monotonic() + seconds
        while self and self._file is not None and time.monotonic() < end:
            lines = self._lines(self._file)
            if not lines:  # somebody has cut the file
                self._done, self.torn = self._size, True
            for line in lines:
                self._carry_out(line, apply)
                self._done += len(line)
                if time.monotonic() > end:
                    break
        if not self:
            self._remove()

    def _carry_out(self, line: bytes, apply: Callable[[Op], None]) -> None:
        try:
            op = from_json(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.torn = True
        else:
            apply(op)

    def close(self) -> None:
        """Leave what is left to the next command on this node."""
        if not self:
            self._remove()
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _lines(self, file: int) -> list[bytes]:
        """Some whole lines from where it is; one that is longer than a read is read whole. None: there is no end."""
        length = 1 << 20
        while True:
            data = os.pread(file, min(length, self._size - self._done), self._done)
            whole = data[: data.rfind(b"\n") + 1]
            if whole or len(data) < length:
                return whole.splitlines(keepends=True)
            length *= 2

    def _made(self) -> int:
        # Locked before it has its name: nobody takes it for that of a process that has ended.
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _lock(file)
            part.rename(self._path)
        except BaseException:
            os.close(file)
            raise
        return file

    def _remove(self) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
        self._file, self._done, self._size = None, 0, 0


def catch_up(hub: Hub) -> int:
    """Carry out what processes of this node that have ended have left; the number of files that were.

    A file of another database, or one that the database refuses now, stays where it is.
    """
    count = 0
    with suppress(OSError):
        for path in sorted(folder_of(hub.settings.home).glob("*.jsonl")):
            with suppress(OSError, NemesystError), within(_PATIENCE, f"carry out {path}"):
                count += _caught_up(hub.state, path)
    return count


def _caught_up(state: State, path: Path) -> bool:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as lines:
        _lock(file)  # raises while its process lives
        known: dict[str, bool] = {}
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):  # torn, or of another version
                op = from_json(json.loads(line))
                if op.run not in known:
                    known[op.run] = state["runs"].find_one({"_id": op.run}, {"_id": 1}) is not None
                if known[op.run]:
                    op.apply(state)
        if any(known.values()) or time.time() - path.stat().st_mtime > _OLD:
            path.unlink(missing_ok=True)
            return True
    return False


def _lock(file: int) -> None:
    import fcntl  # here: it needs a Unix

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
