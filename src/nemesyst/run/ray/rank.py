"""What a worker that Ray Train has started does: its rank of a job."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from nemesyst.run.parallel.torch_launch import is_lost
from nemesyst.run.ray.events import Words
from nemesyst.run.ray.place import placed
from nemesyst.run.threads import limit_threads
from nemesyst.run.worker import run_described

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Teller:
    """Sends messages and output to the board, in order, from a thread of its own."""

    def __init__(self, board: Any, ticket: str, rank: int) -> None:
        self._board, self._ticket, self._rank = board, ticket, rank
        self._messages: list[Mapping[str, Any]] = []
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Send a message; takes no time."""
        with self._news:
            self._messages.append(message)
            self._news.notify()

    def _work(self) -> None:
        import ray

        while True:
            with self._news:
                self._news.wait_for(lambda: self._messages or self._over)
                messages, self._messages = self._messages, []
            if not messages:
                return
            ray.get(self._board.tell.remote(self._ticket, self._rank, messages))

    def close(self) -> None:
        """Send the rest."""
        with self._news:
            self._over = True
            self._news.notify()
        self._thread.join()


class _Output:
    """What this process prints, as messages."""

    def __init__(self, tell: _Teller) -> None:
        self._tell = tell
        self._kept = {number: os.dup(number) for number in (1, 2)}
        reader, writer = os.pipe()
        self._reader = os.fdopen(reader, "rb")
        for number in self._kept:
            os.dup2(writer, number)
        os.close(writer)
        self._thread = threading.Thread(target=self._read, args=(self._reader,), daemon=True)
        self._thread.start()

    def _read(self, reader: IO[bytes]) -> None:
        for line in reader:
            self._tell({"output": line.rstrip(b"\n").decode(errors="replace")})

    def close(self) -> None:
        """Give back what was there; a child that still prints is not waited for."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, kept in self._kept.items():
            os.dup2(kept, number)
            os.close(kept)
        self._thread.join(1.0)


def work_as_rank(told: Mapping[str, Any]) -> None:
    """Do a rank of a job; Ray Train has connected it with the others.

    Args:
        told: ``board``, ``ticket``, ``environment`` and ``place``; the description waits on the board.

    Raises:
        RuntimeError: The job has failed, and has told: Ray Train ends the others.
    """
    import ray
    from ray.train import get_context

    os.environ.update(told["environment"])
    limit_threads()
    tell = _Teller(told["board"], told["ticket"], get_context().get_world_rank())
    description = placed(ray.get(told["board"].kept.remote(told["ticket"])), told["place"])
    words = Words(told["board"], told["ticket"], _heed(threading.get_ident()))
    output = _Output(tell)
    try:
        code = run_described(description, lambda message: tell(_judged(message)), _join)
    finally:
        words.end()
        output.close()
        unit = 1 if sys.platform == "darwin" else 1024
        tell({"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit})
        tell.close()
    if code:
        raise RuntimeError("the job has failed")


def _judged(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message; of a failure, also whether another rank was the first."""
    if "failed" not in message:
        return message
    failed = message["failed"]
    return {"failed": {**failed, "lost": is_lost(failed["message"])}}


def _join() -> Any:
    from ray.train.torch import get_device

    from nemesyst.run.parallel.torch_group import TorchGroup

    return TorchGroup(str(get_device()))


def _heed(thread: int) -> Any:
    """Do as the command says; the function runs in a thread, which Ctrl-C reaches between two steps of Python."""

    def heed(word: str) -> None:
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))

    return heed
