"""Jobs that wait for their turn."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemesyst.run.jobs import Job

_PATIENCE = 16
"""How many smaller jobs may go before one that does not fit yet."""


@dataclass(frozen=True)
class Turn:
    """A job that waits.

    Attributes:
        number: Its place in the order.
        job: The job.
        attempt: How often it will have been begun then, from 1.
    """

    number: int
    job: Job
    attempt: int = 1


class Waiting:
    """Jobs in order; one that does not fit lets a few smaller ones go before it, and is not passed for ever.

    Jobs that ask for the same share a queue, so that thousands cost no more than a few.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[int, float], deque[Turn]] = {}
        self._later: list[tuple[float, int, Turn]] = []
        self._passed = (-1, 0)  # who is first, and how often it was passed

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values()) + len(self._later)

    def add(self, turn: Turn) -> None:
        """Let a job wait, behind those that ask for the same."""
        self._queues.setdefault(_shape(turn.job), deque()).append(turn)

    def later(self, turn: Turn, time: float) -> None:
        """Let a job wait until a time, and then go first."""
        heapq.heappush(self._later, (time, turn.number, turn))

    @property
    def due(self) -> float | None:
        """When the next of those that wait for a time is due."""
        return self._later[0][0] if self._later else None

    def clear(self) -> None:
        """Let nobody wait."""
        self._queues.clear()
        self._later.clear()

    def next(self, fits: Callable[[Job], bool], now: float) -> Turn | None:
        """The job whose turn it is, taken out; None if none fits.

        Args:
            fits: Whether a job can be started; what it raises passes through, and the job is taken out, as
                :attr:`refused`.
            now: The time.
        """
        while self._later and self._later[0][0] <= now:
            turn = heapq.heappop(self._later)[2]
            self._queues.setdefault(_shape(turn.job), deque()).appendleft(turn)
        heads = sorted((queue[0].number, shape) for shape, queue in self._queues.items() if queue)
        if heads and heads[0][0] != self._passed[0]:
            self._passed = (heads[0][0], 0)
        for place, (_, shape) in enumerate(heads):
            if place and self._passed[1] >= _PATIENCE:
                return None
            queue = self._queues[shape]
            if fits(queue[0].job):
                self._passed = (self._passed[0], self._passed[1] + bool(place))
                return queue.popleft()
        return None

    def refuse(self, job: Job) -> Turn:
        """Take out a job at the head of its queue."""
        return self._queues[_shape(job)].popleft()


def _shape(job: Job) -> tuple[int, float]:
    return job.workers, job.gpus
