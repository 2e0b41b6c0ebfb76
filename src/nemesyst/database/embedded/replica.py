"""Making a fresh or moved mongod a writable replica set of one node, with one user."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from nemesyst.database.embedded.home import REPLICA_SET, USERNAME
from nemesyst.database.embedded.ports import LOOPBACK
from nemesyst.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATIENCE = 90  # s, from listening to writable; an election of one takes milliseconds
_SLICE_MS = 1000
"""How long one look for the server takes, before it is asked whether it still lives."""

_POLL = 0.05  # s

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94


def make_writable(port: int, password: str, alive: Callable[[], None], secret_file: Path) -> None:
    """Return when the server takes majority writes from our user; first make the replica set and the user, if need be.

    Every step can be repeated, so a start that was killed half-way is finished by the next one.

    Args:
        port: Where it listens.
        password: Our user's.
        alive: Raises when the server has died meanwhile.
        secret_file: Where the password lies, for the message.

    Raises:
        EmbeddedServerError: The server knows another password, or does not become writable.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            _settle_or_create(port, password)
            with _client(port, password, direct=False) as client:
                client.admin.command("hello")  # the driver waits for the primary, told by the server
        except AutoReconnect:  # no answer, or no primary, within a slice
            alive()
        except OperationFailure as error:
            # it has not read its own configuration yet, which takes 30 s when whoever took the old port is silent
            if error.code != _NOT_YET_INITIALIZED:
                raise
            alive()
            time.sleep(_POLL)
        except _WrongPasswordError:
            raise EmbeddedServerError(
                f"the embedded server does not accept the password in {secret_file}: its data was made with another",
                f"Put the right one back, or move {secret_file.parent / 'db'} away to begin with an empty database.",
            ) from None
        else:
            return
    raise EmbeddedServerError(
        f"the embedded server runs, but did not become writable within {_PATIENCE} s",
        f"Look into {secret_file.parent / 'mongod.log'}, then try again.",
    )


class _WrongPasswordError(Exception):
    """There is a user, and the password is not theirs."""


def _settle_or_create(port: int, password: str) -> None:
    try:
        with _client(port, password, direct=True) as client:
            _settle(client, port)
    except OperationFailure as error:
        if error.code != _AUTHENTICATION_FAILED:
            raise
        _create(port, password)


def _settle(client: MongoClient[Any], port: int) -> None:
    """Give the replica set this port; with the old one it would look for itself elsewhere and stay read-only."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != _host(port):
        config["members"][0]["host"] = _host(port)
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def _create(port: int, password: str) -> None:
    """Make the replica set and its user, as a server without users allows from its own machine."""
    try:
        with _client(port, None, direct=True) as client:
            _initiate(client, port)
        with _client(port, None, direct=False) as client:
            concern = {"w": "majority", "j": True}
            client.admin.command("createUser", USERNAME, pwd=password, roles=["root"], writeConcern=concern)
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        raise _WrongPasswordError from None


def _initiate(client: MongoClient[Any], port: int) -> None:
    config = {"_id": REPLICA_SET, "version": 1, "members": [{"_id": 0, "host": _host(port)}]}
    try:
        client.admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
        client.admin.command("replSetReconfig", {**config, "protocolVersion": 1, "term": -1}, force=True)


def _client(port: int, password: str | None, *, direct: bool) -> MongoClient[Any]:
    who: dict[str, Any] = {} if password is None else {"username": USERNAME, "password": password}
    how: dict[str, Any] = {"directConnection": True} if direct else {"replicaSet": REPLICA_SET}
    return MongoClient(LOOPBACK, port, serverSelectionTimeoutMS=_SLICE_MS, appname="nemesyst supervisor", **who, **how)


def _host(port: int) -> str:
    return f"{LOOPBACK}:{port}"
