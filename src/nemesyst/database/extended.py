"""MongoDB extended JSON: values as the database has them, as JSON values that another process reads as the same."""

from __future__ import annotations

import json
from typing import Any

from bson import json_util
from bson.binary import UuidRepresentation

_OPTIONS = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.STANDARD
)


def to_extended(value: Any) -> Any:
    """A value as JSON values: an ObjectId as ``{"$oid": "..."}``, a time in UTC.

    Raises:
        TypeError: The database could not hold it either.
    """
    return json.loads(json_util.dumps(value, json_options=_OPTIONS))


def from_extended(value: Any) -> Any:
    """What :func:`to_extended` was given."""
    return json_util.loads(json.dumps(value), json_options=_OPTIONS)
