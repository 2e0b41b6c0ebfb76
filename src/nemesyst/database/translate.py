"""The driver's exceptions stop here: each becomes one of ours, with the remedy."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import bson.errors
from pymongo import errors as driver

from nemesyst.database.explain import explain
from nemesyst.errors import (
    AccessError,
    DatabaseError,
    DiskFullError,
    NemesystError,
    SettingsError,
    UnreachableError,
    UnsupportedServerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_BAD_CREDENTIALS = {18, 8000, 11}
_NO_RIGHT = 13
_NO_REPLICA_SET = {20, 263}
_DISK_FULL = {14031}

_CHECK = "Check that the server runs, the address, and the network between."
_SIGNS = {
    "CERTIFICATE_VERIFY_FAILED": "The server's certificate does not stand the check: name the file of the authority "
    "that signed it (tlsCAFile=...), and connect by a host name that is in it.",
    "SSL": "The server may speak no TLS: then leave tls=true out; or it wants another certificate "
    "(tlsCertificateKeyFile=...).",
    "connection closed": _CHECK + " A server that asks for TLS hangs up, too: tls=True.",
    "replica set name": "Correct replicaSet=..., or leave it out and say directConnection=true.",
    "being read is gone": "Begin again: the other members of the replica set go on.",
    "is a secondary": "Leave readPreference out, or give secondaryPreferred, which reads the primary in that case.",
    "members match selector": "Check that most members of the replica set are up; readPreference=secondaryPreferred "
    "reads without a primary.",
    "No primary available": "Check that most members of the replica set are up.",
}
"""What to do, by words of the driver; the first that fits."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's exceptions into ours; ``doing`` says what was tried ("save model air")."""
    try:
        yield
    except (driver.PyMongoError, bson.errors.BSONError) as error:
        raise translate(error, doing) from error


def translate(error: Exception, doing: str) -> NemesystError:
    """Make one of our errors out of one of the driver's."""
    text = redact(str(error))
    if getattr(error, "timeout", False) or isinstance(error, driver.ConnectionFailure):
        return _unreachable(error, doing)
    if isinstance(error, driver.OperationFailure):
        return _operation_failure(error, text, doing)
    if isinstance(error, driver.InvalidOperation) and "after close" in text:
        return closed(doing)
    if isinstance(error, driver.ConfigurationError):
        return SettingsError(f"{doing}: {text}", "Check the address and the options of the database.")
    return _unstorable(error, text, doing)


def _unstorable(error: Exception, text: str, doing: str) -> DatabaseError:
    if isinstance(error, driver.DocumentTooLarge | bson.errors.InvalidDocument):
        return DatabaseError(f"{doing}: {text}", "A document holds at most 16 MB of values that BSON knows.")
    if "no space left" in text.lower():
        return _disk_full(doing, text)
    return DatabaseError(f"{doing}: {text}")


def no_answer(error: Exception) -> str:
    """What the driver says about a server that does not answer, without its settings and its view of the servers."""
    text = redact(str(error)).split(", Timeout:", maxsplit=1)[0]
    text = text.replace("No servers found yet", "nothing answered in time")
    text = re.sub(r" \(configured timeouts: [^)]*\)", "", text)
    text = re.sub(r'No replica set members match selector "Secondary\(.*', "no member of the set is a secondary", text)
    return re.sub(r'No replica set members match selector "(<|Pin\().*', "the member that was being read is gone", text)


def _unreachable(error: Exception, doing: str) -> NemesystError:
    known = explain(str(error))
    if known is not None:
        return type(known)(f"{doing}: {known.message}", known.remedy)
    text = no_answer(error)
    remedy = next((remedy for sign, remedy in _SIGNS.items() if sign in text), _CHECK)
    return UnreachableError(f"{doing}: no answer from the database: {text}", remedy)


def _operation_failure(error: driver.OperationFailure, text: str, doing: str) -> NemesystError:
    details = error.details or {}
    codes = {error.code, *(item.get("code") for item in details.get("writeErrors", ()))}
    codes.add((details.get("writeConcernError") or {}).get("code"))
    if codes & _BAD_CREDENTIALS:
        return AccessError(
            f"{doing}: the database does not accept the credentials: {text}",
            "Check user, password and authSource (the database that knows the user).",
        )
    if _NO_RIGHT in codes and "requires authentication" in text:
        return AccessError(
            f"{doing}: the database asks for a user: {text}",
            "Give username=..., and the password in NEMESYST_PASSWORD.",
        )
    if _NO_RIGHT in codes:
        return AccessError(f"{doing}: the user lacks a right: {text}", "Ask for the role, or use another user.")
    if codes & _DISK_FULL or "no space left" in text.lower():
        return _disk_full(doing, text)
    if codes & _NO_REPLICA_SET and "replica set" in text:
        return no_replica_set(doing)
    return DatabaseError(f"{doing}: the database refused: {text}")


def _disk_full(doing: str, text: str) -> DiskFullError:
    return DiskFullError(f"{doing}: the database's disk is full: {text}", "Free some room, then run it again.")


def closed(doing: str) -> DatabaseError:
    """The error of a hub that is used after its end."""
    return DatabaseError(f"{doing}: the hub is closed", "Connect again: hub = nm.connect(...).")


def no_replica_set(doing: str) -> UnsupportedServerError:
    """The error of a standalone server that is asked for a transaction or a change stream."""
    return UnsupportedServerError(
        f"{doing}: the server is a standalone one, and this needs transactions, so a replica set",
        "Start it with --replSet rs0 and run rs.initiate() once (one node is enough), or use the embedded server.",
    )


def redact(text: str) -> str:
    """Take out of what the driver tells: user and password of every address, and the command that was refused.

    A command holds the numbers of its session, signatures, and rows.

    >>> redact("mongodb://ann:s3cret@db/x")
    'mongodb://***@db/x'
    >>> redact('not authorized on fleet to execute command { insert: "rows", lsid: { id: UUID("01") } }')
    'not authorized on fleet to execute command insert on rows'
    """
    text = re.sub(r"(mongodb(?:\+srv)?://)[^/\s]*@", r"\1***@", text)
    text = text.split(", full error:", maxsplit=1)[0]
    text = re.sub(r'( to execute command) \{ (\w+): (?:"([^"]*)")?.*', _command, text, flags=re.DOTALL)
    return re.sub(r",? ?(?:lsid|\$clusterTime): .*", "", text, flags=re.DOTALL)


def _command(found: re.Match[str]) -> str:
    on = f" on {found[3]}" if found[3] else ""
    return f"{found[1]} {found[2]}{on}"
