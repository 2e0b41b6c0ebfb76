"""The collection that rows go to: looked at, and made if it is not there, before any row is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymongo.errors import CollectionInvalid, OperationFailure
from pymongo.read_preferences import ReadPreference

from nemesyst.database.documents import OPTIONS
from nemesyst.database.put.keys import key_of
from nemesyst.errors import RecordError, SettingsError

if TYPE_CHECKING:
    from pymongo.database import Database

    from nemesyst.database.connection import Connection, Document

_CLUSTERED = (5, 3)
_EXISTS = 48


@dataclass(frozen=True)
class Target:
    """Where rows go.

    Attributes:
        database: The database, with the codec of rows.
        name: The collection's name.
        timeseries: Whether it is a time-series collection: no unique ``_id``, no stamp.
    """

    database: Database[Document]
    name: str
    timeseries: bool = False


def prepare(connection: Connection, database: str, name: str, fields: tuple[str, ...], on_conflict: str) -> Target:
    """Check an existing collection against the key, or make it, clustered on the key.

    Raises:
        SettingsError: It is a view, a time-series collection and a key was given, or its rows have another key.
    """
    # a secondary may not have the row yet that tells how the collection is keyed
    target = connection.client.get_database(database, codec_options=OPTIONS, read_preference=ReadPreference.PRIMARY)
    if fields and not _find(target, name):
        _create(target, name, clustered=connection.server.version >= _CLUSTERED)
    found = _find(target, name)
    kind = found.get("type", "collection")
    if kind == "view":
        raise SettingsError(f"collection: {name!r} is a view", f"Put into {found['options'].get('viewOn')!r} instead.")
    if kind == "timeseries":
        if fields or on_conflict != "keep":
            raise SettingsError(
                f"collection: {name!r} is a time-series collection, in which no row is unique",
                "Leave out key and on_conflict, or choose another collection.",
            )
        return Target(target, name, timeseries=True)
    if found:
        _check_rows(target, name, fields, clustered="clusteredIndex" in found["options"])
    return Target(target, name)


def _find(database: Database[Document], name: str) -> dict[str, Any]:
    return next((dict(found) for found in database.list_collections(filter={"name": name})), {})


def _create(database: Database[Document], name: str, *, clustered: bool) -> None:
    options: dict[str, Any] = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}} if clustered else {}
    try:
        database.create_collection(name, check_exists=False, **options)
    except CollectionInvalid:  # another process was first
        pass
    except OperationFailure as error:
        if error.code != _EXISTS:
            raise


def _check_rows(database: Database[Document], name: str, fields: tuple[str, ...], *, clustered: bool) -> None:
    """One row tells how the collection is keyed: a mixture would keep rows twice that are the same."""
    row = database[name].find_one({})
    if row is None or not (fields or clustered):
        return
    there = _key_of_row(row)
    if not fields and there not in ((), ("_id",)):
        raise SettingsError(
            f"collection: the rows of {name!r} are keyed by {_said(there)}, and no key was given",
            f"Give key={there!r}.",
        )
    if fields and not _agrees(row, fields):
        raise SettingsError(
            f"key: {_said(fields)} does not fit: the rows of {name!r} are keyed by {_said(there)}",
            ("Leave key out" if there == ("_id",) else f"Give key={there!r}") + ", or choose another collection.",
        )


def _agrees(row: Document, fields: tuple[str, ...]) -> bool:
    try:
        key = key_of(row, fields)
    except RecordError:
        return False
    return bool(key == row["_id"]) and (not isinstance(key, dict) or list(key) == list(row["_id"]))


def _key_of_row(row: Document) -> tuple[str, ...]:
    identity = row["_id"]
    if isinstance(identity, dict) and all(row.get(field) == value for field, value in identity.items()):
        return tuple(identity)
    alone = [field for field, value in row.items() if field != "_id" and type(value) is type(identity)]
    return next(((field,) for field in alone if row[field] == identity), ("_id",))


def _said(fields: tuple[str, ...]) -> str:
    return "their own _id" if fields == ("_id",) else " and ".join(repr(field) for field in fields)
