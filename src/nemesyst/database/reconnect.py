"""How another process connects to the same database; what is secret of it never goes into a pickle.

A child of this process that multiprocessing spawns gets the secrets through a pipe of its own, a forked one has them
in its memory. A process that is neither (another machine, a pickle from a file) takes them from its own settings.
"""

from __future__ import annotations

import os
import pickle
import weakref
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from nemesyst.database.address import shown
from nemesyst.database.connection import Connection
from nemesyst.errors import SettingsError
from nemesyst.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemesyst.database.embedded import Embedded

_HARMLESS = {
    "appname", "authmechanism", "authsource", "compressors", "connect", "connecttimeoutms", "directconnection",
    "heartbeatfrequencyms", "j", "journal", "loadbalanced", "localthresholdms", "maxidletimems", "maxpoolsize",
    "maxstalenessseconds", "minpoolsize", "readconcernlevel", "readpreference", "readpreferencetags", "replicaset",
    "retryreads", "retrywrites", "serverselectiontimeoutms", "sockettimeoutms", "srvmaxhosts", "srvservicename",
    "ssl", "tls", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames", "tlscafile", "tlscertificatekeyfile",
    "tlscrlfile", "tlsinsecure", "uuidrepresentation", "w", "waitqueuetimeoutms", "wtimeoutms",
}  # fmt: skip
"""Options that hold no secret; what is not here is taken for one."""


class Reconnect:
    """How to connect again.

    Args:
        address: The address of a server, which may hold a password; None with ``home``.
        timeout: How long the first contact may take, in s.
        options: Options of the driver.
        home: Folder of an embedded server, of which the new connection has a share of its own.
        mongod: Program of the embedded server, should it have to be started.
    """

    def __init__(
        self,
        address: str | None,
        *,
        timeout: float,
        options: Mapping[str, Any] | None = None,
        home: Path | None = None,
        mongod: Path | None = None,
    ) -> None:
        self._whole: tuple[str | None, dict[str, Any]] | None = (address, dict(options or {}))
        self._shown = shown(address) if address is not None else f"the embedded server of {home}"
        self._public = _public(address, options or {})
        self._timeout = timeout
        self._home = None if home is None else home.absolute()
        self._mongod = None if mongod is None else mongod.absolute()

    def __repr__(self) -> str:
        return f"<how to connect to {self._shown}>"

    def connect(self) -> Connection:
        """A connection of this process.

        Raises:
            SettingsError: The secrets did not come along, and this process has no settings for the address.
            UnreachableError: No server answered in time; ``AccessError`` for credentials that it does not accept.
        """
        if self._home is not None:
            return self._embedded(self._home)
        address, options = self._whole or self._from_settings()
        if address is None:
            raise SettingsError("connecting again: there is neither an address nor a folder", "Give one of them.")
        return Connection(address, timeout=self._timeout, options=options)

    def _embedded(self, home: Path) -> Connection:
        from nemesyst.database.embedded import open_embedded  # here: it needs a Unix

        server = open_embedded(home, mongod=self._mongod)
        try:
            return _Shared(server, timeout=max(self._timeout, 30), options=(self._whole or self._public)[1])
        except BaseException:
            server.close()
            raise

    def _from_settings(self) -> tuple[str, dict[str, Any]]:
        settings = load_settings()
        options = dict(settings.options)
        if settings.username is not None:
            options["username"] = settings.username
        if settings.password is not None:
            options["password"] = settings.password.get_secret_value()
        address, public = self._public
        given = None if settings.address is None else settings.address.get_secret_value()
        if given is not None and shown(given) == self._shown:
            return given, {**public, **options}
        if address is not None and "password" in options:
            return address, {**public, **options}
        raise SettingsError(
            f"connecting to {self._shown} from another process: its user and password did not come along, as a "
            "pickle never holds them",
            "Set NEMESYST_ADDRESS to the same address there, and NEMESYST_USERNAME and NEMESYST_PASSWORD.",
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_whole": None}
        if self._whole is not None and not _is_public(*self._whole):
            state["_pipe"] = _hand_over(self._whole)
        else:
            state["_whole"] = self._whole
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        pipe = state.pop("_pipe", None)
        self.__dict__.update(state)
        if pipe is not None:
            with os.fdopen(pipe.detach(), "rb") as reader:
                self._whole = pickle.load(reader)  # noqa: S301 - the parent process wrote it, into this pipe alone


class _Shared(Connection):
    """A connection that has a share in an embedded server."""

    def __init__(self, server: Embedded, *, timeout: float, options: Mapping[str, Any]) -> None:
        self._server = server
        super().__init__(
            server.uri, timeout=timeout, options={**options, "username": server.username, "password": server.password}
        )

    def close(self) -> None:
        super().close()
        self._server.close()


def _hand_over(whole: tuple[str | None, dict[str, Any]]) -> Any:
    """A pipe with the secrets in it, for the child that is being spawned; None if none is."""
    from multiprocessing import context  # here: it takes longer to import than most of this room

    child: Any = context.get_spawning_popen()  # it has DupFd on a Unix, when a child is being spawned
    if not hasattr(child, "DupFd"):
        return None
    try:
        data = pickle.dumps(whole)
    except Exception as error:  # noqa: BLE001 - an option may be any object, and each refuses in its own way
        raise SettingsError(
            f"connecting from another process: an option of the driver cannot be sent there: {error}",
            "Leave it out, or start the processes by fork.",
        ) from None
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "wb", buffering=0) as file:
        file.write(data)
    weakref.finalize(child, os.close, reader)  # the child gets its copy when it starts, which is soon
    return child.DupFd(child.duplicate_for_child(reader))


def _public(address: str | None, options: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What everyone may see: the address, unless it holds more than places and harmless options, and such options."""
    shown_options = {name: value for name, value in options.items() if name.lower() in _HARMLESS}
    return address if address is not None and _is_public(address, {}) else None, shown_options


def _is_public(address: str | None, options: Mapping[str, Any]) -> bool:
    if any(name.lower() not in _HARMLESS for name in options):
        return False
    rest = (address or "").partition("://")[2]
    if "@" in rest:
        return False
    try:
        named = split_options(query, warn=False) if (query := rest.partition("?")[2]) else {}
    except (PyMongoError, ValueError):
        return False
    return all(name.lower() in _HARMLESS for name in named)
