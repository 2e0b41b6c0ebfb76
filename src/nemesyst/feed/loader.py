"""Tables of chunks in order, read ahead by a few threads that end with whoever asks for them."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from nemesyst.database import Stopper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nemesyst.feed.table import Table

    Job = tuple[int, Future[Table]]

READERS = 4
"""Chunks that are read at the same time: on two cores as fast as 2 from a server beside us, and 1.4 times as fast from
one that is 5 ms away (``benchmarks/feed_distance.py``)."""

_SOON, _LATEST = 0.5, 5.0
"""How long threads may take to end by themselves, and once they were interrupted, in s."""


def read_ahead(
    load: Callable[[int], Table],
    chunks: Iterable[int],
    room: int,
    readers: int = READERS,
    *,
    beside: Callable[[], None] | None = None,
) -> Iterator[Table]:
    """The tables of chunks, in the order of the chunks.

    Args:
        load: Reads one; it is called in several threads.
        chunks: Their numbers; taken in the caller's thread.
        room: How many tables may be waiting or being read, 1 or more.
        readers: How many threads read.
        beside: What one more thread does meanwhile; what it raises is not heeded, as the readers find out themselves.

    Whatever ``load`` raises is raised where its table would have come. When the iterator is closed, the threads end
    with the chunk that they read; what a server takes long for is broken off.
    """
    waiting: deque[Future[Table]] = deque()
    pool = _Readers(load, readers)
    if beside is not None:
        pool.beside(beside)
    try:
        for number in chunks:
            waiting.append(pool.submit(number))
            if len(waiting) >= room:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.close()


class _Readers:
    """Threads that do not keep the process from ending, whatever their server does."""

    def __init__(self, load: Callable[[int], Table], readers: int) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopper = Stopper()
        self._args = load, self._jobs, self._stopper
        self._readers = readers
        self._threads: list[Thread] = []
        self._beside: list[Thread] = []

    def beside(self, work: Callable[[], None]) -> None:
        name = "nemesyst-feed-beside"
        self._beside.append(Thread(target=_unheeded, args=(work, self._stopper), name=name, daemon=True))
        self._beside[-1].start()

    def submit(self, number: int) -> Future[Table]:
        if len(self._threads) < self._readers:
            name = f"nemesyst-feed-{len(self._threads)}"
            self._threads.append(Thread(target=_work, args=self._args, name=name, daemon=True))
            self._threads[-1].start()
        future: Future[Table] = Future()
        self._jobs.put((number, future))
        return future

    def close(self) -> None:
        self._stopper.stop()
        for _ in self._threads:
            self._jobs.put(None)
        if not self._ended(_SOON):
            self._stopper.interrupt()
            self._ended(_LATEST)  # one that hangs in a dead connection is left to itself
        self._stopper.finish()

    def _ended(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        threads = [*self._threads, *self._beside]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


def _work(load: Callable[[int], Table], jobs: SimpleQueue[Job | None], stopper: Stopper) -> None:
    while (job := jobs.get()) is not None:
        number, future = job
        if stopper.wait(0):
            continue  # nobody waits for it
        try:
            with stopper.here():
                found = load(number)
        except BaseException as error:  # noqa: BLE001 - it is raised where its table would have come
            future.set_exception(error)
        else:
            future.set_result(found)


def _unheeded(work: Callable[[], None], stopper: Stopper) -> None:
    with suppress(Exception), stopper.here():
        work()
