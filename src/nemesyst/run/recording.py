"""A job's own process keeps what the job says about itself: its record, what it logs, its signs of life."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
import warnings
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from nemesyst.errors import AccessError, NemesystError
from nemesyst.run.counting import Counting, peak_memory
from nemesyst.run.records.ops import Finish
from nemesyst.run.records.points import Buckets
from nemesyst.run.records.record import plain
from nemesyst.run.records.sending import PATIENCE, Sender
from nemesyst.run.records.spool import catch_up
from nemesyst.run.records.starting import Begun, adopt, beat, begin, proceed
from nemesyst.stages import Unrecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemesyst.hub import Hub
    from nemesyst.run.records.points import Row
    from nemesyst.run.records.record import Work
    from nemesyst.stages import Group, Outcome, Progress

    Send = Callable[[Mapping[str, Any]], None]

_TICK = 1.0
"""Time between two writes of what was logged, in s."""
_BEAT = 5.0
"""Time between two signs of life, in s."""
_FLUSH = 5.0
"""How long a checkpoint waits for what was logged before it to be written, in s."""
_MANY = 20_000
"""So many points are written at once rather than at the next tick."""
_END = 30.0
"""How long the end of a run waits for its last words to be kept, in s; one order takes 3 s at most."""
_VERSIONS = 1000
_SUMMARY = 2000


class Unkept(Unrecorded):
    """The recorder of a run that has no record."""

    def watching(self, progress: Progress) -> Progress:
        """The same progress."""
        return progress

    def done(self, outcome: Outcome) -> None:
        """Nothing."""


class Follower(Unkept):
    """The recorder of a worker that trains along: rank 0 keeps the record, and every rank goes on from its checkpoints.

    Args:
        hub: The hub.
        run: Id of the run.
    """

    def __init__(self, hub: Hub, run: str) -> None:
        self.run = run
        self._hub = hub

    def last(self) -> Any:
        """The newest checkpoint of the run."""
        return _checkpoints(self._hub, self.run).last()


class Recording:
    """The recorder of rank 0; a thread of its own writes, so that training never waits for the database.

    Args:
        hub: The hub.
        begun: The attempt that it keeps.
    """

    def __init__(self, hub: Hub, begun: Begun) -> None:
        self.run, self.attempt = begun.id, begun.attempt
        self._hub, self._begun = hub, begun
        self._logged: deque[Row] = deque()
        self._asked: deque[threading.Event] = deque()
        self._step = -1
        self._counter: Counting | None = None
        self._buckets = Buckets(begun.id, begun.attempt)
        self._sender = Sender(hub, begun.id)
        self._kept: Any = None
        self._warned = False
        self._wake, self._over = threading.Event(), False
        self._ending: tuple[str, float, Any] | None = None
        self._outcome: Outcome | None = None
        self._job = threading.get_ident()
        self._thread = threading.Thread(target=self._work, name="nemesyst-recording", daemon=True)
        self._thread.start()

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """See :class:`nemesyst.stages.Recorder`."""
        self._step = step = self._step + 1 if step is None else step
        self._logged.append((step, time.time(), values))
        if len(self._logged) > _MANY:
            self._wake.set()

    def save(self, step: int, snapshot: Any) -> None:
        """See :class:`nemesyst.stages.Recorder`."""
        self._checkpoints().save(step, snapshot)

    def last(self) -> Any:
        """See :class:`nemesyst.stages.Recorder`; steps that are counted by themselves go on from there, too."""
        found = self._checkpoints().last()
        if found is not None:
            self.rewind(found.step)
        return found

    def rewind(self, step: int) -> None:
        """Go on after a step: what was logged after it before is replaced by what is logged from now on."""
        self._step = step

    def watching(self, progress: Progress) -> Progress:
        """Progress that is told on, and of which the record shows rows and epoch."""
        self._counter = Counting(progress)
        return self._counter

    def done(self, outcome: Outcome) -> None:
        """The job has done its work."""
        self._outcome = outcome

    def end(self, status: str, error: Mapping[str, Any] | None = None) -> None:
        """Keep how it ended, and all that was said; takes as long as the database does, within limits."""
        self._ending = (
            status,
            time.time(),
            None if error is None else plain(dict(error)),
        )  # now: what follows takes time
        if self._kept is not None:
            with suppress(NemesystError):
                self._kept.close(finished=status == "done")
        self._over = True
        self._wake.set()
        self._thread.join(_END)

    def _checkpoints(self) -> Any:
        if self._kept is None:
            self._kept = _checkpoints(self._hub, self.run, self._flush)
        return self._kept

    def _flush(self) -> None:
        """Wait until what was logged so far is written, or for some s."""
        written = threading.Event()
        self._asked.append(written)
        self._wake.set()
        written.wait(_FLUSH)

    def _work(self) -> None:
        with suppress(Exception):  # what others left is no reason to keep nothing of this one
            catch_up(self._hub)
        beaten = time.monotonic()
        while not self._over:
            self._wake.wait(_TICK)
            self._wake.clear()
            try:
                self._write()
                if time.monotonic() - beaten >= _BEAT and not self._over:
                    beaten = time.monotonic()
                    self._beat()
            except Exception as error:  # noqa: BLE001 - a training does not fail because of its record
                self._warn(error)
        self._last_words()

    def _write(self) -> None:
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        rows = [self._logged.popleft() for _ in range(len(self._logged))]
        try:
            self._sender.send(self._buckets.orders(rows))
        finally:
            for written in asked:
                written.set()
        if self._sender.refused is not None and not self._warned:
            self._warned = True
            self._warn(self._sender.refused)

    def _warn(self, error: Exception) -> None:
        warnings.warn(f"the record of run {self.run} lacks something: {error}", RuntimeWarning, stacklevel=2)

    def _last_words(self) -> None:
        with suppress(Exception):  # as above; the process is about to end
            self._write()
            if self._ending is not None:
                self._sender.send([self._finish(*self._ending)])
        with suppress(Exception):
            self._sender.close()

    def _finish(self, status: str, wall: float, error: Any) -> Finish:
        known = self._known()
        if self._outcome is not None:
            made = self._outcome.details.get("versions") or ()
            known["versions"] = [each["ref"] for each in made if "ref" in each][:_VERSIONS]
            known["summary"] = self._outcome.summary[:_SUMMARY]
        if error is not None:
            known["error"] = error
        return Finish(self.run, self.attempt, status, wall, known)

    def _beat(self) -> None:
        try:
            go_on = beat(self._hub.state, self._begun, self._known(), PATIENCE)
        except NemesystError:  # away: the next one tells
            return
        if not go_on:
            self._interrupt()

    def _interrupt(self) -> None:
        """Ask the job to end, as Ctrl-C does, whichever thread it runs in (Ray Train has one of its own)."""
        if self._job != threading.main_thread().ident:
            ended = ctypes.py_object(KeyboardInterrupt)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._job), ended)
        elif hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._job, signal.SIGINT)

    def _known(self) -> dict[str, Any]:
        """What a record shows of a run at work."""
        known: dict[str, Any] = {
            "memory": peak_memory(),
            "values": [list(each) for each in self._buckets.latest.items()],
        }
        if self._buckets.step is not None:
            known["step"] = self._buckets.step
        if self._counter is not None:
            known |= {"rows": self._counter.count, "epoch": self._counter.at}
        return known


@contextmanager
def recorded(
    hub: Hub,
    work: Work,
    group: Group,
    *,
    resume: bool = False,
    continues: str = "",
    send: Send | None = None,
    failure: Callable[[BaseException], Mapping[str, Any]] | None = None,
) -> Iterator[Recording | Unkept]:
    """Keep the record of what is done inside; every worker of a group calls it.

    Args:
        hub: The hub.
        work: What is done.
        group: Who trains along; rank 0 keeps the record.
        resume: Whether the newest unfinished run of the same work is gone on with, so that its checkpoints are found.
        continues: Id of the run that is gone on with instead, which an earlier attempt of this job has begun; if it
            cannot be, a new one begins.
        send: Told ``{"run": id, "attempt": number}``.
        failure: What to record of an error: ``kind``, ``message``, ``remedy``, ``where``.

    Raises:
        DatabaseError: The record cannot be begun. Where the user may not write it, the run goes unrecorded.
    """
    begun = _begun(hub, work, send, continues, resume=resume) if group.rank == 0 else None
    run = group.broadcast(None if begun is None else begun.id)
    if begun is None:
        yield Unkept() if run is None else Follower(hub, run)
        return
    if send is not None:
        send({"run": begun.id, "attempt": begun.attempt})
    recording = Recording(hub, begun)
    try:
        yield recording
    except KeyboardInterrupt:
        recording.end("stopped")
        raise
    except BaseException as error:
        recording.end("failed", (failure or _failure)(error))
        raise
    recording.end("done")


def _begun(hub: Hub, work: Work, send: Send | None, continues: str, *, resume: bool) -> Begun | None:
    try:
        if continues:
            return proceed(hub.state, work, continues) or begin(hub.state, work)
        return (adopt(hub.state, work) if resume else None) or begin(hub.state, work)
    except AccessError as error:
        text = f"this run is not recorded: {error.message}"
        if send is None:
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        else:
            send({"note": text})
        return None


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, NemesystError):
        return {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
    return {"kind": type(error).__name__, "message": f"{type(error).__name__}: {error}", "remedy": None}


def _checkpoints(hub: Hub, run: str, before: Callable[[], None] | None = None) -> Any:
    from nemesyst.run.checkpoints import Checkpoints

    return Checkpoints(hub, run, before)
