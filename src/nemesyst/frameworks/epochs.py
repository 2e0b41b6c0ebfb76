"""Numbers of epochs, agreed between processes: the workers of a DataLoader are new ones for each pass."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import context, current_process
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEPT = 16
"""Passes that are remembered; workers of more than that at once would not find theirs."""


@dataclass(frozen=True)
class Pass:
    """One pass of a DataLoader, as one of its workers sees it; the others must find out that theirs is the same.

    Attributes:
        seed: The DataLoader's seed: another one for each pass, unless the user sets the seed before each.
        first: Number of the pass's first process among those that the parent has started: tells passes of one seed
            apart.
        count: How many times this process began before (persistent workers).
        worker: Number of this worker.
        workers: Number of workers.
    """

    seed: int
    first: int
    count: int
    worker: int
    workers: int

    @classmethod
    def of(cls, seed: int, count: int, worker: int, workers: int) -> Pass:
        """The pass that this process is a worker of."""
        identity = getattr(current_process(), "_identity", None) or (worker,)
        return cls(seed, identity[-1] - worker, count, worker, workers)

    def is_of(self, known: dict[str, Any]) -> bool:
        """Whether another worker has begun this pass already."""
        return (
            known["seed"] == self.seed
            and known["count"] == self.count
            and abs(known["first"] - self.first) < self.workers  # others may start processes at the same time
            and self.worker not in known["begun"]
        )


class Epochs:
    """Counts epochs in a file without a name, which child processes inherit, forked or spawned.

    A plain pickle takes along only how far the count is; so does one for a child process where there is no Unix.
    """

    def __init__(self, begin: int = 0) -> None:
        self._known: dict[str, Any] = {"next": begin, "passes": []}
        self._file: int | None = _nameless()
        self._write(self._known)

    def begin(self, at_least: int) -> int:
        """Number of an epoch that this process reads alone."""
        with self._locked() as known:
            number = max(known["next"], at_least)
            known["next"] = number + 1
        return int(number)

    def join(self, begun: Pass, at_least: int) -> int:
        """Number of the epoch that all workers of a pass read."""
        with self._locked() as known:
            for other in known["passes"]:
                if begun.is_of(other):
                    other["begun"].append(begun.worker)
                    return int(other["epoch"])
            number = max(known["next"], at_least)
            known["next"] = number + 1
            mine = {"seed": begun.seed, "first": begun.first, "count": begun.count}
            known["passes"] = [{**mine, "begun": [begun.worker], "epoch": number}, *known["passes"]][:_KEPT]
        return int(number)

    @property
    def next(self) -> int:
        """Number of the epoch that has not begun."""
        return int(self._read()["next"])

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        if self._file is None:
            yield self._known
            return
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_EX)  # the system frees it when a worker is killed
        try:
            known = self._read()
            yield known
            self._write(known)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self) -> dict[str, Any]:
        if self._file is None:
            return self._known
        known: dict[str, Any] = json.loads(os.pread(self._file, 1 << 20, 0))
        return known

    def _write(self, known: dict[str, Any]) -> None:
        if self._file is None:
            return
        text = json.dumps(known).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def __getstate__(self) -> dict[str, Any]:
        child: Any = context.get_spawning_popen()  # it has DupFd on a Unix, when a child is being spawned
        shared = (
            child.DupFd(child.duplicate_for_child(self._file))
            if self._file is not None and hasattr(child, "DupFd")
            else None
        )
        return {"file": shared, "next": self.next}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["file"] is None:
            self.__init__(state["next"])  # type: ignore[misc] # on this class alone
        else:
            self._known, self._file = {}, state["file"].detach()

    def __del__(self) -> None:
        file: int | None = getattr(self, "_file", None)
        if file is not None:
            os.close(file)


def _nameless() -> int | None:
    if not hasattr(os, "pread"):  # no Unix: no child has files of this process
        return None
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nemesyst-epochs")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
