"""Workers that JAX connects; it has no launcher of its own, so that they are started here."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any

from nemesyst.run.local.gpus import VISIBLE
from nemesyst.run.parallel.ranks import print_whole_lines
from nemesyst.run.signals import end_with_parent, take_signals
from nemesyst.run.worker import run_described

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from nemesyst.run.parallel.ranks import Ranks

_GRACE = 8.0
"""How long workers may take to end when one has failed, in s: less than a round waits for a job."""

_LOST = ("gloo", "coordination service", "connection closed", "connection reset", "heartbeat", "deadline_exceeded")
"""What the errors of those say that another worker has left."""


def launch(description: Mapping[str, Any], ranks: Ranks) -> dict[int, int]:
    """Run the workers to their end; exit codes of those that failed first."""
    spawn = get_context("spawn")
    place = f"127.0.0.1:{_free_port()}"
    workers = [
        spawn.Process(target=work_as_rank, args=(dict(description), ranks.writers, rank, place))
        for rank in range(ranks.size)
    ]
    with ranks:
        try:
            for worker in workers:
                worker.start()
            return _wait(workers)
        finally:
            _end(workers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(workers: Sequence[SpawnProcess]) -> dict[int, int]:
    running = {worker.sentinel: worker for worker in workers}
    while running:
        for sentinel in connection.wait(list(running)):
            running.pop(sentinel).join()  # type: ignore[arg-type] # one of them
        failed = {rank: worker.exitcode for rank, worker in enumerate(workers) if worker.exitcode}
        if failed:
            return {rank: code or 0 for rank, code in failed.items()}
    return {}


def _end(workers: Sequence[SpawnProcess]) -> None:
    begun = [worker for worker in workers if worker.pid is not None]
    for worker in begun:
        with suppress(ProcessLookupError):
            if worker.is_alive():
                os.kill(worker.pid or 0, signal.SIGTERM)
    for worker in begun:
        worker.join(_GRACE / len(begun))
        if worker.is_alive():  # it waits for the others, and does not come round to looking at signals
            worker.kill()
            worker.join()


def work_as_rank(description: Mapping[str, Any], writers: list[Connection], rank: int, place: str) -> None:
    """What each worker does."""
    end_with_parent()
    take_signals()
    print_whole_lines()
    for other, writer in enumerate(writers):
        if other != rank:
            writer.close()
    _own_gpus(rank, len(writers))

    def send(message: Mapping[str, Any]) -> None:
        if "failed" in message:
            text = message["failed"]["message"].lower()
            message = {"failed": {**message["failed"], "lost": any(sign in text for sign in _LOST)}}
        writers[rank].send(message)

    from nemesyst.run.parallel.jax_group import JaxGroup

    code = run_described(description, send, lambda: JaxGroup.join(place, rank, len(writers)))
    if code:
        sys.stdout.flush()
        os._exit(code)  # JAX's own end would wait for the others
    JaxGroup.leave()


def _own_gpus(rank: int, size: int) -> None:
    """Let this worker see its share of the job's GPUs."""
    names = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    each = max(1, len(names) // size)
    first = rank * each % len(names) if names else 0
    os.environ[VISIBLE] = ",".join(names[first : first + each])
