"""The Ray executor: a cluster's nodes."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError, NemesystError, ScriptError, SettingsError
from nemesyst.run.describing import describe
from nemesyst.run.jobs import Executor, Job, JobReport, Watcher
from nemesyst.run.parallel.choosing import framework_of
from nemesyst.run.ray.board import Board
from nemesyst.run.ray.cluster import load_ray, open_cluster
from nemesyst.run.ray.events import report_of
from nemesyst.run.ray.place import Place, pack
from nemesyst.run.ray.task import do_job
from nemesyst.run.ray.train import train_job
from nemesyst.run.threads import cores, thread_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_GRACE = 3.0
"""How long a killed job may take to tell, in s; then its process of Ray is ended, too."""
_MANY = 10_000
_TRANSIENT = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "OwnerDiedError", "ObjectLostError")


@dataclass
class _Remote:
    """A job on the cluster.

    Attributes:
        job: The job.
        watcher: Gets what it tells.
        ticket: Its name on the board, which says nothing about it.
        launched: When.
        stream: What its task yields, once it has been given to Ray.
        begun: Whether its task runs.
        killed: When it was killed.
        report: What became of it.
        last_lines: What it printed last.
    """

    job: Job
    watcher: Watcher
    ticket: str = field(default_factory=lambda: uuid.uuid4().hex)
    launched: float = field(default_factory=time.monotonic)
    stream: Any = None
    begun: bool = False
    killed: float | None = None
    report: JobReport | None = None
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since its launch."""
        return time.monotonic() - self.launched


class RayExecutor(Executor):
    """Runs jobs on a Ray cluster: ``ray_address`` of the settings or ``RAY_ADDRESS``, else one that it starts here.

    An independent job is a task; the workers of one that trains with several are started by Ray Train, in a placement
    group of its own, so that they begin together. What runs when several jobs wait for the same CPUs is Ray's business.

    Args:
        settings: Settings for each job, as values; secrets travel as arguments of tasks, in no name and no log.
        processes: Processes side by side; None: the CPUs of the cluster. More than these is allowed for a cluster
            that grows with what it is asked for.
        address: Goes before ``ray_address``.
        ship: Whether the script's folder goes along to the nodes; None: if there are nodes on other machines.

    Raises:
        SettingsError: Ray is not installed; the settings name no address of a database, and there are nodes on
            other machines.
        UnreachableError: No cluster answers.
        JobError: None could be started.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        processes: int | None = None,
        *,
        address: str | None = None,
        ship: bool | None = None,
    ) -> None:
        self._ray = load_ray()
        self._settings = dict(settings)
        self._cluster = open_cluster(address or self._settings.pop("ray_address", None), processes)
        self._running: dict[Job, _Remote] = {}
        self._bundles: dict[Path, Place] = {}
        self._closed = False
        self._ship = self._cluster.elsewhere if ship is None else ship
        self._processes = processes or max(1, self._cluster.cpus)
        if self._cluster.elsewhere and self._settings.get("address") is None:
            self._cluster.close()
            raise SettingsError(
                "executor 'ray': the cluster has nodes on other machines, which cannot reach the embedded server",
                "Name a database that all nodes reach: --address mongodb://... or NEMESYST_ADDRESS.",
            )
        self._board = self._remote(Board, num_cpus=0, max_concurrency=_MANY, max_restarts=0).remote()

    def _remote(self, what: Any, **options: Any) -> Any:
        return self._ray.remote(**options)(what)

    def fits(self, job: Job, running: Sequence[Job]) -> bool:
        """See :meth:`Executor.fits`."""
        most = max(self._processes, self._cluster.cpus)
        if job.workers > most:
            raise JobError(
                f"{job} ({job.script}) asks for {job.workers} workers, and the cluster has {most} CPUs",
                f"Give --processes {job.workers} if it grows when asked to, or ask for fewer workers.",
            )
        gpus = self._cluster.gpus
        if job.gpus and gpus and job.workers * job.gpus > gpus:
            raise JobError(
                f"{job} ({job.script}) asks for {job.workers} x {job.gpus:g} GPUs, and the cluster has {gpus:g}",
                "Ask for fewer workers or GPUs.",
            )
        busy = sum(each.workers for each in running)
        taken = sum(each.workers * each.gpus for each in running)
        room = not job.gpus or not gpus or taken + job.workers * job.gpus <= gpus
        return (not busy or busy + job.workers <= self._processes) and room

    def launch(self, job: Job, watcher: Watcher) -> None:
        """See :meth:`Executor.launch`; it is given to Ray with :meth:`wait`, when it is known how many there are."""
        self._running[job] = _Remote(job, watcher)

    def wait(self, seconds: float | None) -> list[JobReport]:
        """See :meth:`Executor.wait`."""
        self._begin()
        if not any(remote.report for remote in self._running.values()):
            self._listen(seconds)
        ended = [remote for remote in self._running.values() if remote.report is not None]
        for remote in ended:
            del self._running[remote.job]
            self._board.forget.remote(remote.ticket)
        return [remote.report for remote in ended if remote.report is not None]

    def interrupt(self, job: Job) -> None:
        """See :meth:`Executor.interrupt`; a function of a job with workers sees it between two steps of Python."""
        self._begin()
        self._say(self._running[job], "interrupt")

    def kill(self, job: Job) -> None:
        """See :meth:`Executor.kill`."""
        self._begin()
        remote = self._running[job]
        remote.killed = time.monotonic()
        self._say(remote, "kill")

    def close(self) -> None:
        """See :meth:`Executor.close`; a cluster that was started here ends."""
        if self._closed:
            return
        self._closed = True
        try:
            for remote in list(self._running.values()):
                if remote.stream is not None and remote.killed is None:
                    remote.killed = time.monotonic()
                    self._say(remote, "kill")
            until = time.monotonic() + 2 * _GRACE
            while any(each.stream is not None for each in self._running.values()) and time.monotonic() < until:
                self.wait(0.1)
            self._running.clear()
            self._ray.kill(self._board)
        finally:
            self._cluster.close()

    def _begin(self) -> None:
        """Give Ray the jobs that were launched."""
        workers = max(1, sum(job.workers for job in self._running))
        room = cores() if self._cluster.started else max(1, self._cluster.cpus)
        environment = thread_settings(max(1, room // workers))
        for remote in self._running.values():
            if remote.stream is None and remote.report is None:
                try:
                    remote.stream = self._task(remote, environment)
                except NemesystError as error:
                    remote.report = JobReport(remote.job, error=error, seconds=remote.seconds)

    def _task(self, remote: _Remote, environment: Mapping[str, str]) -> Any:
        job = remote.job
        description = describe(job, self._settings) | {"origin": str(job.script.resolve())}
        together = job.workers > 1 and self._framework(job) == "torch"
        gpus = job.gpus if self._cluster.gpus else 0.0
        if job.gpus and not gpus:
            remote.watcher.output(job, "the cluster has no GPU: it runs on the CPUs")
            description["gpus"] = 0.0
        task = self._remote(
            train_job if together else do_job,
            num_cpus=0 if together else job.workers,
            num_gpus=0 if together else job.workers * gpus,
            num_returns="streaming",
            max_retries=0,  # the round knows what is begun again
        )
        named = task.options(name=f"nemesyst {job.kind} {job.name}")
        return named.remote(description, dict(environment), self._board, remote.ticket, self._place(job))

    def _framework(self, job: Job) -> str:
        """The framework of a job with workers: those of JAX are started on one node, as on one machine."""
        framework = framework_of(job.script, job.name)
        if find_spec(framework) is None:
            raise ScriptError(f"{job.script} imports {framework}, which is not installed", "Install it.")
        return framework

    def _place(self, job: Job) -> Place:
        here = os.getcwd()  # noqa: PTH109 - a text for another process
        if not self._ship:
            return Place(here)
        folder = job.script.resolve().parent
        if folder not in self._bundles:
            data, digest = pack(job.script)
            self._bundles[folder] = Place(here, self._ray.put(data), digest)
        return self._bundles[folder]

    def _say(self, remote: _Remote, word: str) -> None:
        if remote.report is not None:
            return
        self._board.ask.remote(remote.ticket, word)
        if not remote.begun:  # it waits for room
            self._ray.cancel(remote.stream, force=True)

    def _listen(self, seconds: float | None) -> None:
        """Pass on what jobs tell, for so long at most."""
        remotes = [remote for remote in self._running.values() if remote.report is None and remote.stream is not None]
        if not remotes:
            time.sleep(min(seconds or 0.0, 0.1))
            return
        killed = [remote for remote in remotes if remote.killed is not None]
        limit = seconds if not killed else min(_GRACE / 10, _GRACE if seconds is None else seconds)
        streams = [remote.stream for remote in remotes]
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=limit)
        if ready:
            ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
        for remote in remotes:
            if any(remote.stream is stream for stream in ready):
                self._take(remote)
            elif remote.killed is not None and time.monotonic() - remote.killed > _GRACE:
                self._ray.cancel(remote.stream, force=True)

    def _take(self, remote: _Remote) -> None:
        try:
            events = self._ray.get(next(remote.stream))
        except StopIteration:
            remote.report = self._lost(remote, None)
        except self._ray.exceptions.RayError as error:
            remote.report = self._lost(remote, error)
        else:
            for name, value in events:
                self._event(remote, name, value)

    def _event(self, remote: _Remote, name: str, value: Any) -> None:
        if name == "begun":
            remote.begun = True
        elif name == "output":
            remote.last_lines = [*remote.last_lines[-4:], value]
            remote.watcher.output(remote.job, value)
        elif name == "progress":
            remote.watcher.progress(remote.job, value)
        else:
            remote.report = report_of(remote.job, value, remote.seconds)

    def _lost(self, remote: _Remote, error: BaseException | None) -> JobReport:
        """The report of a job whose task has ended without one."""
        job, kind = remote.job, type(error).__name__
        if kind == "TaskCancelledError" or remote.killed is not None:
            how, remedy, transient = "was ended before it began" if not remote.begun else "was killed", None, False
        elif any(each in kind for each in _TRANSIENT):
            how, remedy, transient = "was killed with its process of Ray", "The node may be out of memory.", True
        else:
            told = (str(getattr(error, "cause", None) or error).strip().splitlines() or [kind])[-1]
            how, transient = f"could not be done by its node: {told}", False
            remedy = "Nemesyst, and what the script imports, has to be installed on every node."
        said = f"; it said last: {' / '.join(remote.last_lines)}" if remote.last_lines else ""
        message = f"{job} ({job.script}) {how}{said}"
        return JobReport(job, error=JobError(message, remedy), seconds=remote.seconds, transient=transient)
