"""The local executor: processes of this machine."""

from __future__ import annotations

import os
import selectors
import signal
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError, NemesystError
from nemesyst.run.describing import describe
from nemesyst.run.jobs import Executor, Job, JobReport, Watcher
from nemesyst.run.local.gpus import VISIBLE, Gpus
from nemesyst.run.local.process import LocalProcess
from nemesyst.run.local.start import CAN_FORK, Forks, Spawned
from nemesyst.run.threads import cores, thread_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LocalExecutor(Executor):
    """Runs jobs as processes, at most so many at a time.

    They are forked from a process that has Nemesyst imported already, and the libraries that earlier jobs have used
    where that is safe: a job takes some milliseconds to start. Jobs that run side by side share the cores; one alone
    has all of them.

    Args:
        settings: Settings for each job, as values; secrets go through a socket or a pipe, never the command line.
        processes: Processes side by side, those of a job that trains with several included; None: the number of cores.
        gpus: GPUs to give out, as ``CUDA_VISIBLE_DEVICES`` names them; None: those of this machine.
        fork: Whether processes may be forked (Linux); otherwise each is started by itself, which takes a second more.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        processes: int | None = None,
        *,
        gpus: Sequence[str] | None = None,
        fork: bool = True,
    ) -> None:
        self._settings = dict(settings)
        self._processes = processes or cores()
        self._gpus = Gpus(gpus)
        self._fork = fork and CAN_FORK
        self._running: dict[Job, LocalProcess] = {}
        self._taken: dict[Job, list[tuple[str, float]]] = {}
        self._beginning: list[tuple[Job, Watcher]] = []
        self._selector = selectors.DefaultSelector()
        self._forks: Forks | None = None
        self._old: list[Forks] = []

    def fits(self, job: Job, running: Sequence[Job]) -> bool:
        """See :meth:`Executor.fits`; a job of more workers than ``processes`` runs alone."""
        most = max(self._processes, cores())
        if job.workers > most:
            raise JobError(
                f"{job} ({job.script}) asks for {job.workers} workers, and there are {most} processes at most",
                f"Give --processes {job.workers}, or ask for fewer workers.",
            )
        if not self._gpus.could(job.workers, job.gpus):
            raise JobError(
                f"{job} ({job.script}) asks for {job.workers} x {job.gpus:g} GPUs, and this machine has "
                f"{len(self._gpus.names)}",
                "Ask for fewer workers or GPUs.",
            )
        busy = sum(each.workers for each in running)
        return (not busy or busy + job.workers <= self._processes) and self._gpus.fit(job.workers, job.gpus)

    def launch(self, job: Job, watcher: Watcher) -> None:
        """See :meth:`Executor.launch`; the process begins with :meth:`wait`, when it is known how many there are."""
        self._running[job] = LocalProcess(job, watcher, self._selector, self._used)
        self._taken[job] = self._gpus.take(job.workers, job.gpus)
        self._beginning.append((job, watcher))

    def wait(self, seconds: float | None) -> list[JobReport]:
        """See :meth:`Executor.wait`."""
        self._begin()
        if not any(process.ended for process in self._running.values()):
            for key, _ in self._selector.select(seconds):
                key.data(key.fileobj)
        ended = [job for job, process in self._running.items() if process.ended]
        for job in ended:
            self._gpus.give_back(self._taken.pop(job))
        return [self._running.pop(job).report() for job in ended]

    def interrupt(self, job: Job) -> None:
        """See :meth:`Executor.interrupt`."""
        self._begin()
        self._running[job].signal(signal.SIGINT)

    def kill(self, job: Job) -> None:
        """See :meth:`Executor.kill`."""
        self._begin()
        self._running[job].signal(signal.SIGKILL)

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        self._beginning.clear()
        for process in self._running.values():
            process.signal(signal.SIGKILL)
        for forks in (*self._old, *([self._forks] if self._forks else [])):
            forks.close()
        self._running.clear()
        self._selector.close()

    def _begin(self) -> None:
        """Start the processes of the jobs that were launched."""
        workers = max(1, sum(job.workers for job in self._running))
        threads = max(1, cores() // workers)
        for job, watcher in self._beginning:
            self._start(job, watcher, threads)
        self._beginning.clear()

    def _start(self, job: Job, watcher: Watcher, threads: int) -> None:
        process = self._running[job]
        try:
            description = describe(job, self._settings)
        except NemesystError as error:
            process.failed(error)
            return
        taken = self._taken[job]
        if job.gpus and not taken:
            watcher.output(job, "there is no GPU here: it runs on the CPU")
        # GPUs are given out, not assumed: who asked for none sees none.
        devices = {VISIBLE: ",".join(name for name, _ in taken)}
        environment = {**os.environ, **thread_settings(threads), **devices, "PYTHONUNBUFFERED": "1"}
        try:
            forks = self._nursery()
            if forks is None:
                Spawned(process, description, environment, self._selector)
            else:
                forks.start(process, description, environment)
        except OSError as error:
            process.failed(JobError(f"{job} ({job.script}): no process could be started: {error}"))

    def _nursery(self) -> Forks | None:
        """Where processes are forked from; None: they are started by themselves."""
        if not self._fork:
            return None
        if self._forks is None or self._forks.gone:
            self._old += [] if self._forks is None else [self._forks]
            self._forks = Forks(self._selector)
        return None if self._forks.spoiled else self._forks

    def _used(self, modules: list[str]) -> None:
        if self._forks is not None:
            self._forks.warm(modules)
