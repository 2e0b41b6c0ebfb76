"""What a process that uses the embedded server calls: find it or start it, and keep a share in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import nemesyst.errors
from nemesyst.database.embedded.binary import Binary, find_mongod
from nemesyst.database.embedded.checks import check_room
from nemesyst.database.embedded.home import USERNAME, Home, State, here
from nemesyst.database.embedded.locks import SHARED, briefly, is_ending, is_held, lock, lock_within
from nemesyst.database.embedded.reasons import why_away
from nemesyst.database.explain import Explainer, register
from nemesyst.descriptors import passed, passing
from nemesyst.errors import EmbeddedServerError, NemesystError

if TYPE_CHECKING:
    from nemesyst.database.embedded.supervisor import Job

_LOG_LIMIT = 1_000_000
_ENDING = 10  # s that a killed process may take to go


class Embedded:
    """A share in an embedded server, which stays up while any process holds one; also a context manager.

    Attributes:
        home: The server's folder.
        uri: The address, without credentials.
        username: The user, who may do everything.
        password: Their password.
    """

    def __init__(self, home: Path, uri: str, password: str, share: _Share) -> None:
        self.home = home
        self.uri = uri
        self.username = USERNAME
        self.password = password
        self._share: _Share | None = share
        place = uri.partition("://")[2].partition("/")[0]
        self._forget = register(Explainer(place, partial(why_away, Home(home))))

    def close(self) -> None:
        """Give up this share; the server stops soon after the last one."""
        self._forget()
        with _shares.guard:
            share, self._share = self._share, None
            if share is not None:
                _shares.give_up(share)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Embedded({str(self.home)!r}, {self.uri!r})"


def open_embedded(
    home: Path, *, mongod: Path | None = None, cache_gb: float = 0.5, port: int | None = None
) -> Embedded:
    """Find the server of a folder, or start it; returns when it is writable.

    Args:
        home: The folder; made if need be.
        mongod: The program to run; None: the extra's, or the one on PATH.
        cache_gb: Memory that a server started by this call caches data in, in GB.
        port: The port to run on from now on; None: the one it had, or a free one.

    Raises:
        EmbeddedServerError: It cannot start or use the folder; says why and what to do.
        DiskFullError: There is hardly room left for a database.
    """
    place = Home(home)
    place.prepare()
    with _shares.guard:
        share = _shares.take(place)
        try:
            with place.usable(), briefly(place.start_lock) as starting:
                served = _is_served(place)
                state = _running(place, port) if served else _start(place, mongod, cache_gb, port, starting)
                return Embedded(place.folder, state.uri, place.secret(), share)
        except BaseException:
            _shares.give_up(share)
            raise


class _Share:
    """The shared lock of this process on one ``users.lock``, and how many handles it has."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.handles = 0


class _Shares:
    """The shares of this process, one per folder."""

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._by_folder: dict[Path, _Share] = {}

    def take(self, place: Home) -> _Share:
        """Take one more handle; waits while a server without users is being stopped."""
        share = self._by_folder.get(place.folder)
        if share is None or not _is_of(share, place):
            with place.usable():
                share = _Share(lock(place.users_lock, SHARED))
            self._by_folder[place.folder] = share
        share.handles += 1
        return share

    def give_up(self, share: _Share) -> None:
        """Give one handle back; with the last one goes the lock."""
        share.handles -= 1
        if share.handles == 0:
            self._by_folder = {folder: other for folder, other in self._by_folder.items() if other is not share}
            os.close(share.descriptor)

    def renew_guard(self) -> None:
        """In a forked child: a thread of the parent may have held the guard, and is not here to release it."""
        self.guard = threading.RLock()


_shares = _Shares()
os.register_at_fork(after_in_child=_shares.renew_guard)


def _is_of(share: _Share, place: Home) -> bool:
    """Whether the share is in the folder that is there now, not in one that was deleted meanwhile."""
    try:
        return os.path.samestat(os.fstat(share.descriptor), place.users_lock.stat())
    except OSError:
        return False


def _is_served(place: Home) -> bool:
    """Whether a supervisor serves the folder; one that was just killed still holds its lock a moment."""
    if not is_held(place.server_lock):
        return False
    if not is_ending(place.server_lock):
        return True
    gone = lock_within(place.server_lock, SHARED, _ENDING)
    if gone is None:
        return True
    os.close(gone)
    return False


def _running(place: Home, port: int | None) -> State:
    """Where the running server is, if it can be reached from here."""
    state = place.state()
    if state is None:
        raise EmbeddedServerError(
            f"a server runs in {place.folder}, but {place.state_file.name}, which says where, is missing",
            "Stop it and connect again: nemesyst db stop --force",
        )
    if not here().reaches(state.place):
        raise EmbeddedServerError(
            f"the embedded server of {place.folder} runs elsewhere: on host {state.host}, in another container, "
            "network namespace or machine, where it cannot be reached from here",
            "Stop it there, or set NEMESYST_HOME (or --home) to another folder, or connect to a server by its address.",
        )
    if port is not None and port != state.port:
        raise EmbeddedServerError(
            f"the embedded server of {place.folder} runs on port {state.port} already, not on {port}",
            f"Stop it first: nemesyst db stop, then nemesyst db start --port {port}",
        )
    return state


def _start(place: Home, mongod: Path | None, cache_gb: float, port: int | None, starting: int) -> State:
    """Start the server; ``starting`` is the descriptor that holds the start lock."""
    binary = find_mongod(mongod, place.folder / "bin")
    state = place.state()
    if state is not None and place.has_data:
        _check_made_by(place, state, binary)
    check_room(place.folder)
    place.secret()
    place.make_keyfile()
    _supervise(place, binary, cache_gb, port or (state.port if state else None), starting)
    state = place.state()
    if state is None:
        raise _ended(place)
    return state


def _check_made_by(place: Home, state: State, binary: Binary) -> None:
    if state.version.split(".")[:2] != binary.version.split(".")[:2]:
        raise EmbeddedServerError(
            f"the data in {place.db} was made by MongoDB {state.version} ({state.mongod}), and the mongod at hand is "
            f"{binary.version} ({binary.path})",
            f"Set NEMESYST_MONGOD to one of version {'.'.join(state.version.split('.')[:2])}, or move {place.db} away "
            "to begin with an empty database.",
        )


def _supervise(place: Home, binary: Binary, cache_gb: float, port: int | None, starting: int) -> None:
    """Start the supervisor and wait until the server is writable."""
    from nemesyst.database.embedded.supervisor import Job

    reader, writer = passed(os.pipe)
    with passing(reader):
        with passing(writer):  # closed here once the supervisor has it, so that its end is the end of the answer
            job = Job(str(place.folder), str(binary.path), binary.version, port, cache_gb, starting, writer)
            process = _spawn(place, job)
        threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie when it ends before us
        answer = _read(reader)
    if not answer:
        raise _ended(place)
    error = json.loads(answer)
    if error:
        kind: type[NemesystError] = getattr(nemesyst.errors, error["kind"])
        raise kind(error["message"], error["remedy"])


def _spawn(place: Home, job: Job) -> subprocess.Popen[bytes]:
    with place.supervisor_log.open("wb" if _is_long(place.supervisor_log) else "ab") as log:
        return subprocess.Popen(
            job.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.folder,
            env=_environment(),
            pass_fds=(job.start_lock, job.ready),
            start_new_session=True,
        )


def _read(reader: int) -> bytes:
    parts = []
    while part := os.read(reader, 65536):
        parts.append(part)
    return b"".join(parts)


def _environment() -> dict[str, str]:
    """The supervisor's environment: it imports what we import, and has none of our secrets."""
    from nemesyst.database.embedded.supervisor import LINGER

    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEMESYST_") or name == LINGER}
    return kept | {"PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)}


def _is_long(log: Path) -> bool:
    return log.exists() and log.stat().st_size > _LOG_LIMIT


def _ended(place: Home) -> EmbeddedServerError:
    text = place.supervisor_log.read_text(encoding="utf-8", errors="replace").strip()
    last = text.splitlines()[-1] if text else "{"
    # a line of JSON is mongod's: then the supervisor has said nothing, which only a kill does
    why = "it was killed" if last.startswith("{") else last
    return EmbeddedServerError(
        f"the embedded server's supervisor ended before the server was up: {why}",
        f"Try again; if it stays so, look into {place.supervisor_log}.",
    )
