"""Reading replies in advance, in a thread that holds at most so many."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemesyst.database.raw.cursor import ServerCursor


class Ahead:
    """A thread that asks a cursor for more while earlier batches are worked on.

    Args:
        cursor: An open cursor; from now on only this thread asks it.
        depth: How many batches may wait, the one being read included.
    """

    def __init__(self, cursor: ServerCursor, depth: int) -> None:
        self._cursor = cursor
        self._room = threading.Semaphore(depth)
        self._read: SimpleQueue[memoryview | BaseException | None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="nemesyst-raw-ahead", daemon=True)
        self._thread.start()

    def next(self) -> memoryview | None:
        """The next batch; None at the end. Raises what the reading raised."""
        found = self._read.get()
        self._room.release()
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """Ask the thread to end after the reply that it waits for."""
        self._stopping = True
        self._room.release()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        found: memoryview | BaseException | None = None
        while self._room.acquire() and not self._stopping:
            try:
                found = self._cursor.more()
            except BaseException as error:  # noqa: BLE001 - it is raised where the batches are read
                found = error
            self._read.put(found)
            if not isinstance(found, memoryview):
                return
