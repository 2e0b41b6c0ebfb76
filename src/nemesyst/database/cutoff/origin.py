"""What a collection is, which tells how it can be read at an earlier time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pymongo.errors import OperationFailure
from pymongo.read_preferences import ReadPreference

from nemesyst.database.cutoff.patience import PATIENCE, Patience, passes
from nemesyst.database.translate import translated
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.database.connection import Connection

Kind = Literal["collection", "capped", "view", "timeseries", "missing"]
_NO_RIGHT = 13


@dataclass(frozen=True)
class Origin:
    """What the server says of a collection.

    Attributes:
        kind: What it is.
        uuid: The server's number of it, which another one of the same name does not have; None if it is not known.
    """

    kind: Kind
    uuid: bytes | None = None


def origin(connection: Connection, database: str, collection: str, *, patience: float = PATIENCE) -> Origin:
    """Ask the server what a collection is; a user who may not ask gets a plain one.

    Raises:
        UnreachableError: No server answered in time.
    """
    doing = f"looking at {database}.{collection}"
    waiting = Patience(doing, patience)
    command = {"listCollections": 1, "filter": {"name": collection}, "cursor": {}}
    while True:
        try:
            with translated(doing):
                return _origin(connection, database, command)
        except DatabaseError as error:
            if not passes(error):
                raise
            waiting.wait(error)


def _origin(connection: Connection, database: str, command: dict[str, Any]) -> Origin:
    try:
        answer = connection.client[database].command(command, read_preference=ReadPreference.PRIMARY_PREFERRED)
    except OperationFailure as error:
        if error.code == _NO_RIGHT:
            return Origin("collection")
        raise
    return next(map(told, answer["cursor"]["firstBatch"]), Origin("missing"))


def told(found: Mapping[str, Any]) -> Origin:
    """What the server says of a collection in a list of them."""
    uuid = found.get("info", {}).get("uuid")
    kind: Kind = "capped" if found.get("options", {}).get("capped") else found.get("type", "collection")
    return Origin(kind, None if uuid is None else bytes(getattr(uuid, "bytes", uuid)))
