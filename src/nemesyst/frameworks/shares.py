"""Batches shared out to the worker processes of a DataLoader, forked or spawned, or read in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nemesyst.frameworks.batches import is_handed
from nemesyst.frameworks.epochs import Epochs, Pass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nemesyst.frameworks.batches import Handed, Opener
    from nemesyst.types import Batch


class Shares:
    """What of a dataset goes to other processes: how to read, never a connection.

    Batches that cannot be handed over (plain ones, such as a list) are copied to the workers, and each of them
    leaves out what is not its share.

    Args:
        batches: The batches of this process.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._here: Iterable[Batch] | None = batches
        self._process = os.getpid()
        self._recipe: Opener | None = None
        self._epochs = Epochs()
        self._opened: _Opened | None = None

    def read(self) -> Iterator[Batch]:
        """All batches of the next epoch, in this process alone."""
        batches = self._batches(0, 1)
        if is_handed(batches):
            _set(batches, self._epochs.begin(batches.epoch))
        yield from batches

    def read_share(self, worker: int, workers: int, seed: int) -> Iterator[Batch]:
        """This worker's batches of the epoch that all workers of its pass read.

        Args:
            worker: Number of this worker.
            workers: How many there are.
            seed: What the workers of a pass have in common.
        """
        batches = self._batches(worker, workers)
        if is_handed(batches):
            _set(batches, self._epochs.join(Pass.of(seed, self._passes(), worker, workers), batches.epoch))
            return iter(batches)
        return islice(batches, worker, None, workers)

    @property
    def next_epoch(self) -> int:
        """Number of the next epoch that is read anywhere."""
        batches = self._batches(0, 1)
        return max(self._epochs.next, batches.epoch if is_handed(batches) else 0)

    def __len__(self) -> int:
        return len(self._batches(0, 1))  # type: ignore[arg-type] # TypeError where it is not known

    def _batches(self, worker: int, workers: int) -> Iterable[Batch]:
        if self._here is not None and (self._process == os.getpid() or not is_handed(self._here)):
            return self._here
        opened = self._opened
        if opened is None or opened.process != os.getpid():  # a forked child does not go on with its parent's
            opened = self._opened = _Opened(os.getpid(), self._opener().open(worker, workers))
        return opened.batches

    def _passes(self) -> int:
        """How many passes this process began before."""
        if self._opened is None:
            return 0
        self._opened.passes += 1
        return self._opened.passes - 1

    def _opener(self) -> Any:
        return self._here.recipe() if is_handed(self._here) else self._recipe

    def __getstate__(self) -> dict[str, Any]:
        handed = self._here is None or is_handed(self._here)
        return {
            "here": None if handed else self._here,
            "recipe": self._opener() if handed else None,
            "epochs": self._epochs,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._here, self._recipe, self._epochs = state["here"], state["recipe"], state["epochs"]
        self._process, self._opened = os.getpid(), None


@dataclass
class _Opened:
    """Batches that a process opened for itself, for as long as it lives."""

    process: int
    batches: Iterable[Batch]
    passes: int = 0


def _set(batches: Handed, epoch: int) -> None:
    if batches.epoch != epoch:  # otherwise an interrupted epoch goes on where it was
        batches.epoch = epoch
