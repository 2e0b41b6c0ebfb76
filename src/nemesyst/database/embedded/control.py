"""Keeping an embedded server up, stopping it, and telling how it is."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemesyst.database.embedded.home import USERNAME, Home, here
from nemesyst.database.embedded.locks import EXCLUSIVE, briefly, holders, is_held, lock_within, try_lock
from nemesyst.database.embedded.reasons import in_use
from nemesyst.database.embedded.server import open_embedded
from nemesyst.errors import EmbeddedServerError

if TYPE_CHECKING:
    from pathlib import Path

_STOPPING = 60  # s
_POLL = 0.02  # s


@dataclass(frozen=True)
class Status:
    """How an embedded server is.

    Attributes:
        running: Whether it runs.
        pinned: Whether it stays up without users.
        home: Its folder.
        port: Its port, also while it is down; None before the first start.
        uri: The address, without credentials; None before the first start.
        username: The user to connect as.
        secret_file: The file that holds the password.
        version: Version of the mongod that made the data.
        mongod: Path of that mongod.
        supervisor: Process id of the supervisor; None if it is down.
        pid: Process id of mongod; None if it is down.
        users: Process ids of those who use it, as far as this user may see.
        size: Bytes that the data takes on the disk.
    """

    running: bool
    pinned: bool
    home: Path
    port: int | None
    uri: str | None
    username: str
    secret_file: Path
    version: str | None
    mongod: str | None
    supervisor: int | None
    pid: int | None
    users: tuple[int, ...]
    size: int


def status(home: Path) -> Status:
    """Tell how the server of a folder is; starts and makes nothing.

    Raises:
        EmbeddedServerError: The folder's files cannot be read.
    """
    place = Home(home)
    with place.usable():
        state = place.state()
        running = is_held(place.server_lock)
        return Status(
            running=running,
            pinned=place.pinned.exists(),
            home=place.folder,
            port=state.port if state else None,
            uri=state.uri if state else None,
            username=USERNAME,
            secret_file=place.secret_file,
            version=state.version if state else None,
            mongod=state.mongod if state else None,
            supervisor=state.supervisor if state and running else None,
            pid=state.pid if state and running else None,
            users=_users(place, state.supervisor if state else 0),
            size=_size(place.db),
        )


def pin(home: Path, *, mongod: Path | None = None, cache_gb: float = 0.5, port: int | None = None) -> Status:
    """Start the server of a folder if it is down, and keep it up without users until :func:`stop`.

    Raises:
        EmbeddedServerError: As :func:`~nemesyst.database.embedded.open_embedded`; also DiskFullError.
    """
    with open_embedded(home, mongod=mongod, cache_gb=cache_gb, port=port):
        place = Home(home)
        with place.usable():
            place.pinned.touch(mode=0o600)
    return status(home)


def stop(home: Path, *, force: bool = False) -> Status:
    """Let the server of a folder go: at once if it has no users, else after the last one; ``force`` does not wait.

    Returns when it is down, with ``running=False``; if users keep it up, ``running`` is true and ``users`` names them.

    Raises:
        EmbeddedServerError: The server runs where this process cannot stop it.
    """
    place = Home(home)
    with place.usable():
        place.pinned.unlink(missing_ok=True)
        if place.users_lock.exists():
            if force:
                _end(place)
            else:
                _end_unused(place)
    return status(home)


def _end_unused(place: Home) -> None:
    """End the server unless it has users; holds their lock meanwhile, so that nobody can come."""
    end = time.monotonic() + _STOPPING
    while (unused := try_lock(place.users_lock, EXCLUSIVE)) is None:
        # without a user it is the supervisor that holds it, about to stop the server itself
        if _users(place) or time.monotonic() > end:
            return
        time.sleep(_POLL)
    try:
        _end(place)
    finally:
        os.close(unused)


def _end(place: Home) -> None:
    """Ask the supervisor to stop, and wait until its mongod has left the data; nobody can start one meanwhile."""
    with briefly(place.start_lock):
        if is_held(place.server_lock):
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(_supervisor(place), signal.SIGTERM)
        gone = lock_within(place.data_lock, EXCLUSIVE, _STOPPING)
        if gone is None:
            raise in_use(place)
        os.close(gone)


def _supervisor(place: Home) -> int:
    """Process id of the supervisor, told by the lock that it holds; ``server.json`` may be damaged or of elsewhere."""
    found = holders(place.server_lock)
    if found:
        return found[0]
    state = place.state()
    if state is None or not here().reaches(state.place):
        raise EmbeddedServerError(
            f"the embedded server of {place.folder} runs elsewhere{f', on host {state.host}' if state else ''}: "
            "in another container, on another machine, or as another user",
            "Stop it there: nemesyst db stop",
        )
    return state.supervisor


def _users(place: Home, last_supervisor: int = 0) -> tuple[int, ...]:
    # A supervisor that is stopping the server holds the users' lock, and has let the server's go.
    supervisors = {last_supervisor, *holders(place.server_lock)}
    return tuple(process for process in holders(place.users_lock) if process not in supervisors)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # mongod removes files while we look
            total += path.lstat().st_blocks * 512
    return total
