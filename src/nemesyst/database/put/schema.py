"""Schemas: what the fields of a record must be, checked by pydantic; the record itself is stored as it is."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nemesyst.errors import RecordError, SettingsError

Check = Callable[[Mapping[str, Any]], None]
"""Raises RecordError, naming the field, if a record does not fit."""


def checker(schema: Mapping[str, Any] | type | None) -> Check | None:
    """Make the check of a schema: field names with Python types, or a pydantic model.

    ``{"unit": int, "air": float | None}``: a field may be missing or null only with ``| None``; an int is a float, and
    nothing else is converted; further fields are allowed.

    Raises:
        SettingsError: The schema is none.
    """
    if schema is None:
        return None
    try:
        adapter = _adapter(schema)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError, NameError) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(f"schema: {first}", "Give {field: Python type}, or a pydantic model class.") from error

    def check(record: Mapping[str, Any]) -> None:
        try:
            adapter.validate_python(record, strict=True)
        except ValidationError:
            _check_again(adapter, record)

    return check


def _check_again(adapter: TypeAdapter[Any], record: Mapping[str, Any]) -> None:
    """NumPy's scalars are stored as Python's, so they count as those; told apart only where the first look failed."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in record.items()}
    try:
        adapter.validate_python(plain, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(record)"
        raise RecordError(f"field {field}: {first['msg']}") from None


def _adapter(schema: Mapping[str, Any] | type) -> TypeAdapter[Any]:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return TypeAdapter(schema)
    if not isinstance(schema, Mapping):
        raise SettingsError(f"schema: {schema!r} is none", "Give {field: Python type}, or a pydantic model class.")
    for field, kind in schema.items():
        if not isinstance(field, str) or not (isinstance(kind, type) or get_origin(kind)):
            raise SettingsError(f"schema: {field!r}: {kind!r} is no type", "Use types, such as float or str | None.")
    fields = {field: NotRequired[kind] if _optional(kind) else kind for field, kind in schema.items()}
    make: Any = TypedDict  # its fields are known at run time only
    row = make("row", fields)
    row.__pydantic_config__ = ConfigDict(extra="ignore", arbitrary_types_allowed=True)
    return TypeAdapter(row)


def _optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
