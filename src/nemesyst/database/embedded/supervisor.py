"""The process that is mongod's parent: it starts it, keeps it up, and ends it when the last user has gone.

Run as ``python -m nemesyst.database.embedded.supervisor JOB``; the job is a JSON record without secrets.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nemesyst.database.embedded import ports
from nemesyst.database.embedded.home import Home, State, here
from nemesyst.database.embedded.locks import EXCLUSIVE, lock, lock_within, sign, try_lock
from nemesyst.database.embedded.mongod import Mongod
from nemesyst.database.embedded.reasons import in_use
from nemesyst.database.embedded.replica import make_writable
from nemesyst.errors import NemesystError

if TYPE_CHECKING:
    from types import FrameType

LINGER = "NEMESYST_EMBEDDED_LINGER"
"""Environment variable: how long the server stays after its last user, in s; 1 by default."""

_OLD_SERVER = 60  # s that an old mongod may take to go
_QUICK = 30  # s; a mongod that ends sooner after its start has failed like one that never started
_TRIES = 3
_RECHECK = 1  # s, of a pinned server without users
_FILES = 64_000


@dataclass(frozen=True)
class Job:
    """What a supervisor is started with.

    Attributes:
        home: The folder.
        mongod: The program to run.
        version: Its version.
        port: The port to keep or to take; None: choose one.
        cache_gb: Memory for the cache, in GB.
        start_lock: Inherited descriptor of ``start.lock``, held until the server is writable.
        ready: Inherited descriptor of a pipe that takes ``{}`` when it is, else an error.
    """

    home: str
    mongod: str
    version: str
    port: int | None
    cache_gb: float
    start_lock: int
    ready: int

    def command(self) -> list[str]:
        """The command line of this job."""
        return [sys.executable, "-m", __name__, json.dumps(asdict(self))]


class _Asked(BaseException):
    """SIGTERM came: stop at once, cleanly."""


class Supervisor:
    """Keeps one mongod up."""

    def __init__(self, job: Job, readiness: Readiness) -> None:
        self.job = job
        self.readiness = readiness
        self.home = Home(Path(job.home))
        self.port = job.port
        self.server_lock = self._take(self.home.server_lock)
        sign(self.server_lock)
        self.data_lock = self._take(self.home.data_lock)
        self.mongod = Mongod(self.home, Path(job.mongod), job.cache_gb, self.data_lock)

    def _take(self, path: Path) -> int:
        """Lock what the last supervisor and mongod held, which may still be about to go."""
        descriptor = lock_within(path, EXCLUSIVE, _OLD_SERVER)
        if descriptor is None:
            raise in_use(self.home)
        return descriptor

    def run(self) -> None:
        """Serve until asked to stop, or until mongod cannot be kept up."""
        try:
            self._first_start()
            threading.Thread(target=self._watch, daemon=True).start()
            self._keep_up()
        finally:
            # who comes from now on starts a server of their own, which waits for the data lock
            os.close(self.server_lock)
            self.mongod.stop()

    def _first_start(self) -> None:
        if self.port is not None and not ports.is_free(self.port):
            raise ports.taken(self.port)
        self._start()
        self.readiness.tell({})
        os.close(self.job.start_lock)

    def _start(self) -> None:
        """Start mongod and return when it is writable and ``server.json`` says where."""
        for attempt in range(_TRIES):
            port = self.port or ports.choose()
            try:
                self.mongod.start(port)
                break
            except NemesystError:
                # a port that we chose may have been taken between choosing and listening
                if self.port is not None or ports.is_free(port) or attempt == _TRIES - 1:
                    raise
        self.port = port
        make_writable(port, self.home.secret(), self.mongod.alive, self.home.secret_file)
        place = here()
        self.home.remember(
            State(port, self.job.version, self.job.mongod, *place, supervisor=os.getpid(), pid=self.mongod.pid)
        )
        _say(f"mongod {self.mongod.pid} is writable on port {port}")

    def _keep_up(self) -> None:
        """Start mongod again, on the same port, whenever it ends unasked; live users go on."""
        failures = 0
        while True:
            began = time.monotonic()
            self.mongod.wait()
            # Who connects now waits until it is up again. Not given back when that fails: then the lock ends with this
            # process, so nobody finds a supervisor that no longer serves.
            starting = lock(self.home.start_lock, EXCLUSIVE)
            failures = failures if time.monotonic() - began < _QUICK else 0
            failures = self._start_again(failures)
            os.close(starting)

    def _start_again(self, failures: int) -> int:
        """Start mongod until it is up; returns the failures in a row so far, of which a kill from outside is none."""
        error = self.mongod.why_ended()
        while True:
            failures += 0 if self.mongod.was_killed else 1
            _say(f"mongod {self.mongod.pid} ended: {error.message}")
            if failures >= _TRIES:
                raise error
            try:
                self._start()
            except NemesystError as failed:
                error = failed
                self.mongod.stop()
            else:
                return failures

    def _watch(self) -> None:
        """Ask this process to stop when nobody uses the server, holding the lock that keeps new users waiting."""
        linger = float(os.environ.get(LINGER) or 1)
        while self._is_home():
            os.close(lock(self.home.users_lock, EXCLUSIVE))  # waits until the last user has gone
            time.sleep(linger)
            if self.home.pinned.exists():
                time.sleep(_RECHECK)
            elif self._is_home() and (last := try_lock(self.home.users_lock, EXCLUSIVE)) is not None:
                if not self.home.pinned.exists():
                    _say("no users are left")
                    break
                os.close(last)
        os.kill(os.getpid(), signal.SIGTERM)

    def _is_home(self) -> bool:
        """Whether the folder is still the one that this process began in, not deleted or made anew."""
        try:
            return os.path.samestat(self.home.server_lock.stat(), os.fstat(self.server_lock))
        except OSError:
            return False


class Readiness:
    """Tells the starter how the start went, once; the starter may have gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def tell(self, answer: dict[str, str | None]) -> None:
        """Write the answer and close the pipe; later answers go nowhere."""
        if self._descriptor is not None:
            with suppress(BrokenPipeError):
                os.write(self._descriptor, json.dumps(answer).encode())
            os.close(self._descriptor)
            self._descriptor = None


def main(argument: str) -> int:
    """Run one job; 0 when it was asked to stop."""
    job = Job(**json.loads(argument))
    for descriptor in (job.start_lock, job.ready):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the flag of the system call
    for unwanted in (signal.SIGINT, signal.SIGHUP):
        signal.signal(unwanted, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _asked)
    _allow_files()
    readiness = Readiness(job.ready)
    try:
        Supervisor(job, readiness).run()
    except _Asked:
        _say("stopped")
    except NemesystError as error:
        _say(f"gave up: {error.message}")
        readiness.tell({"kind": type(error).__name__, "message": error.message, "remedy": error.remedy})
        return 1
    return 0


def _asked(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; a second one must not cut the stopping short
    raise _Asked


def _allow_files() -> None:
    """Let mongod open as many files as this user may: it opens several per collection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _say(text: str) -> None:
    with suppress(OSError):  # the log has no room: mongod matters more
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)  # noqa: T201 - standard output is the supervisor's log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
