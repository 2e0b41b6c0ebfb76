"""An independent job as a task of a Ray cluster: the task starts the job's process as the local executor does.

The function runs in a process of its own, forked for it, so that Ctrl-C, output, memory and end are the same as on one
machine, and the next job finds a process of Ray that is ready.
"""

from __future__ import annotations

import os
import selectors
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError
from nemesyst.run.describing import job_of
from nemesyst.run.local.gpus import VISIBLE
from nemesyst.run.local.process import LocalProcess
from nemesyst.run.local.start import CAN_FORK, Forks, Spawned
from nemesyst.run.ray.events import Bell, Collected, Words, told_by
from nemesyst.run.ray.place import placed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.run.ray.events import Event
    from nemesyst.run.ray.place import Place

SIGNALS = {"interrupt": signal.SIGINT, "kill": signal.SIGKILL}
"""What the words of the command stand for."""


class _Seat:
    """What a process of Ray keeps from task to task."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        self._forks: Forks | None = None
        self._old: list[Forks] = []

    def start(self, process: LocalProcess, description: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Start the process of a job."""
        try:
            forks = self._nursery()
            if forks is None:
                Spawned(process, description, environment, self.selector)
            else:
                forks.start(process, description, environment)
        except OSError as error:
            process.failed(JobError(f"{process.job} ({process.job.script}): no process could be started: {error}"))

    def _nursery(self) -> Forks | None:
        if not CAN_FORK:
            return None
        if self._forks is None or self._forks.gone:
            self._old += [] if self._forks is None else [self._forks]
            self._forks = Forks(self.selector)
        return None if self._forks.spoiled else self._forks

    def used(self, modules: list[str]) -> None:
        """The next jobs find these modules imported."""
        if self._forks is not None:
            self._forks.warm(modules)

    def close(self) -> None:
        """Leave it to another one."""
        for forks in (*self._old, *([self._forks] if self._forks else [])):
            forks.close()
        self.selector.close()


_seats: list[_Seat] = []


def _seat() -> _Seat:
    """The one of this process and working folder."""
    folder = str(Path.cwd())
    if _seats and _seats[0].folder != folder:
        _seats.pop().close()
    if not _seats:
        _seats.append(_Seat(folder))
    return _seats[0]


def do_job(
    description: Mapping[str, Any], environment: Mapping[str, str], board: Any, ticket: str, place: Place
) -> Iterator[list[Event]]:
    """Do a job in a process of its own, as a task of Ray.

    Args:
        description: The job, as described.
        environment: What its process has beside the environment of the node.
        board: The executor's board, as an actor.
        ticket: The job's.
        place: Where the script is found.
    """
    # What Ray starts has Ctrl-C blocked, and so would what we start.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    description = placed(description, place)
    seat, collected = _seat(), Collected()
    process = LocalProcess(job_of(description), collected, seat.selector, seat.used)
    bell = Bell(seat.selector, lambda word: process.signal(SIGNALS[word]))
    words = Words(board, ticket, bell)
    try:
        seat.start(process, description, {**os.environ, **environment, VISIBLE: _gpus(description["gpus"])})
        yield from told_by(process, collected, seat.selector)
    finally:
        words.end()
        if not process.ended:  # the task is cancelled
            with suppress(OSError):
                process.signal(signal.SIGKILL)
        bell.close()


def _gpus(wanted: float) -> str:
    import ray

    return ",".join(str(each) for each in ray.get_gpu_ids()) if wanted else ""
