"""Keys: which fields make a row's ``_id``, and which values may stand in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId

from nemesyst.database.documents import STAMP, is_missing
from nemesyst.errors import RecordError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SAFE = frozenset({int, str, bool, bytes, ObjectId})


def key_fields(key: str | Sequence[str] | None) -> tuple[str, ...]:
    """Check the names of a key.

    Raises:
        SettingsError: A name is empty, doubled, dotted or ours.
    """
    if key is None:
        return ()
    if not isinstance(key, str | list | tuple):
        raise SettingsError(f"key: {key!r} is not the name of a field", 'Write key="unit" or key=("unit", "t").')
    fields = (key,) if isinstance(key, str) else tuple(key)
    if not fields:
        raise SettingsError("key: no field was given", "Leave key out, or name one field or more.")
    for field in fields:
        problem = _problem(field, alone=len(fields) == 1)
        if problem:
            raise SettingsError(f"key: {field!r} {problem}", "A key is made of top-level fields that every record has.")
        if fields.count(field) > 1:
            raise SettingsError(f"key: {field!r} is named twice", "Name each field once.")
    return fields


def _problem(field: Any, *, alone: bool) -> str | None:
    if not isinstance(field, str):
        return "is not text"
    if not field:
        return "is empty"
    if "." in field or "$" in field or "\0" in field:
        return "holds a dot, a dollar or a null byte"
    if field == STAMP:
        return "is filled by the server"
    if field == "_id" and not alone:
        return "can only be a key by itself"
    return None


def key_of(record: Mapping[str, Any], fields: tuple[str, ...]) -> Any:
    """The ``_id`` of a record: the value of one field, or a document of several in the key's order.

    Raises:
        RecordError: A field is missing, or its value cannot tell rows apart.
    """
    try:
        found = {field: record[field] for field in fields}
    except KeyError as error:
        raise RecordError(f"there is no key field {error.args[0]!r}") from None
    for field, value in found.items():
        kind = type(value)
        if kind not in _SAFE and not (kind is datetime and not value.microsecond % 1000):
            _check(field, value)
    return found if len(found) > 1 else value


def _check(field: str, value: Any) -> None:
    """Refuse values under which two different rows could become one."""
    if value is None or is_missing(value):
        raise RecordError(f"key field {field!r} is null")
    if isinstance(value, list | tuple | np.ndarray):
        raise RecordError(f"key field {field!r} is an array")
    if isinstance(value, np.datetime64):
        _check_moment(field, value)
    elif isinstance(value, datetime) and (value.microsecond % 1000 or getattr(value, "nanosecond", 0)):
        raise _too_fine(field)
    elif value != value:  # noqa: PLR0124 - true for NaN alone
        raise RecordError(f"key field {field!r} is not a number (NaN)")


def _check_moment(field: str, value: np.datetime64) -> None:
    if np.isnat(value):
        raise RecordError(f"key field {field!r} is null")
    if value.astype("datetime64[ms]") != value:
        raise _too_fine(field)


def _too_fine(field: str) -> RecordError:
    return RecordError(f"key field {field!r} is finer than a millisecond, which the database's dates would cut off")


def check_collection(name: Any, database: str) -> None:
    """Check the name of a collection to put into.

    Raises:
        SettingsError: MongoDB does not allow it, or it is one of ours.
    """
    problem = None
    if not isinstance(name, str) or not name:
        problem = "is no name"
    elif "$" in name or "\0" in name:
        problem = "holds a dollar or a null byte"
    elif name.startswith(("system.", ".")) or name.endswith(".") or ".." in name:
        problem = "is a name that MongoDB keeps or does not allow"
    elif name.endswith((".rejected", ".chunks")):
        problem = "ends like the collections that Nemesyst makes beside others"
    elif len(f"{database}.{name}.rejected".encode()) > 255:
        problem = "is too long (database, collection and .rejected together have 255 bytes)"
    if problem:
        raise SettingsError(f"collection: {name!r} {problem}", "Choose another name, such as telemetry.")
