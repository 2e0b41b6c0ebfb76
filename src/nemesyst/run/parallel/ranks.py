"""What the workers of one job tell, as that of one."""

from __future__ import annotations

import io
import signal
import sys
import threading
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, Self

from nemesyst.run.signals import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    from nemesyst.run.jobs import Job

_PATIENCE = 0.05
"""How often it is looked whether all is over, in s."""
_ENDED = (1, INTERRUPTED, -signal.SIGTERM)
"""Codes of workers that were ended, or left alone, because of another one."""


class Ranks:
    """Takes what each worker sends: rows are summed, the other progress is that of rank 0.

    Used as a context, it listens in a thread of its own.

    Args:
        job: The job.
        send: Takes the messages of the job.
    """

    def __init__(self, job: Job, send: Callable[[Mapping[str, Any]], None]) -> None:
        self.size = job.workers
        self._job, self._send = job, send
        pipes = [get_context("spawn").Pipe(duplex=False) for _ in range(job.workers)]
        self._readers: dict[Connection, int] = {reader: rank for rank, (reader, _) in enumerate(pipes)}
        self.writers = [writer for _, writer in pipes]
        """Where each worker sends to; they go to it as an argument, which is no secret's place in a process list."""
        self._rows = [0] * job.workers
        self._failed: list[tuple[int, dict[str, Any]]] = []
        self._done: dict[str, Any] | None = None
        self._interrupted: dict[str, Any] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            over = self._over.is_set()  # before the look: what was sent until then is there
            ready = connection.wait(list(self._readers), 0 if over else _PATIENCE)
            for reader in (each for each in list(self._readers) if each in ready):
                try:
                    self.take(self._readers[reader], reader.recv())
                except EOFError:
                    del self._readers[reader]
            if over and not ready:
                return

    def take(self, rank: int, message: Mapping[str, Any]) -> None:
        """Take a message of a worker."""
        if "failed" in message and message["failed"].get("interrupted"):
            self._interrupted = dict(message)  # what the others are when one has failed
        elif "failed" in message:
            self._failed.append((rank, dict(message["failed"])))
        elif "rows" in message:
            self._rows[rank] = message["rows"]
            self._send({"rows": sum(self._rows)})
        elif "note" in message:
            self._send(message)
        elif rank == 0:
            self._of_first(message)

    def _of_first(self, message: Mapping[str, Any]) -> None:
        if "done" in message:
            self._done = dict(message)
        elif "epoch" in message:
            number, total, rows = message["epoch"]
            self._send({"epoch": [number, total, None if rows is None else rows * self.size]})
        else:
            self._send(message)

    def tell_interrupted(self) -> None:
        """Send where the workers were when the job was interrupted, if one of them said so."""
        if self._interrupted is not None:
            self._send(self._interrupted)

    def tell_end(self, codes: Mapping[int, int]) -> int:
        """Send how it ended: the outcome, or the error of the worker that failed first.

        Once rank 0 has told the outcome, what it made is stored and its record says so: a worker that ends badly after
        that is told in a note.

        Args:
            codes: Exit codes of the workers of which it is known; a signal's number, negative.

        Returns:
            The exit code of the job.
        """
        if self._done is not None:
            self._note_bad_ends(codes)
            self._send(self._done)
            return 0
        first = next((told for told in self._failed if not told[1].get("lost")), None)
        if first is not None:
            self._send({"failed": self._of_rank(*first)})
            return 1
        self._send({"failed": self._vanished(codes)})
        return 1

    def _note_bad_ends(self, codes: Mapping[int, int]) -> None:
        told = {rank: failed["message"] for rank, failed in self._failed if not failed.get("lost")}
        for rank in range(self.size):
            code = codes.get(rank, 0)
            if rank in told:
                how = f"failed at its end: {told[rank]}"
            elif code and code not in _ENDED:
                how = f"{_how(code)} at its end"
            else:
                continue
            self._send({"note": f"worker {rank} of {self.size} {how}; the work was done, and is stored"})

    def _of_rank(self, rank: int, failed: Mapping[str, Any]) -> dict[str, Any]:
        return {**failed, "message": f"{failed['message']} (worker {rank} of {self.size})"}

    def _vanished(self, codes: Mapping[int, int]) -> dict[str, Any]:
        """A worker died without a word; what the others say is that it is gone."""
        told = {rank for rank, _ in self._failed}
        rank = next((rank for rank, code in codes.items() if code and rank not in told), None)
        if rank is None:
            rank = next((rank for rank in range(self.size) if rank not in told), 0)
        code = codes.get(rank, 0)
        how = _how(code)
        killed = code in (0, -signal.SIGKILL)
        return {
            "kind": "JobError",
            "message": f"{self._job} ({self._job.script}): worker {rank} of {self.size} {how} before it was done",
            "remedy": "The machine may be out of memory." if killed else None,
            "where": str(self._job.script),
            "transient": killed,
        }


def print_whole_lines() -> None:
    """Have this process print line by line: workers share one output, and would else interleave their words."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def _how(code: int) -> str:
    """How a worker with this exit code has ended."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}" if code else "died"
