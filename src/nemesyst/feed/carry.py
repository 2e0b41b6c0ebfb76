"""Carrying the ``_id`` of each document along to its rows, through stages that change or lose it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE_ID = "#id"
"""Where the ``_id`` of a row's document is, as ``id``, when the pipeline makes rows without it."""
_KEPT = "#keep"
"""Marks what a ``$redact`` leaves alone."""


def carried(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The stages, with the ``_id`` of each document carried along to its rows as :data:`SOURCE_ID`."""
    return [{"$set": {SOURCE_ID: {_KEPT: True, "id": "$_id"}}}, *map(_carrying, stages)]


def _carrying(stage: Mapping[str, Any]) -> dict[str, Any]:
    ((name, body),) = stage.items()
    if name == "$project" and _includes(body):
        return {name: {**body, SOURCE_ID: 1}}
    if name == "$replaceRoot":
        return {name: {"newRoot": {"$mergeObjects": [body["newRoot"], {SOURCE_ID: f"${SOURCE_ID}"}]}}}
    if name == "$replaceWith":
        return {name: {"$mergeObjects": [body, {SOURCE_ID: f"${SOURCE_ID}"}]}}
    if name == "$redact":
        return {name: {"$cond": [{"$eq": [f"${_KEPT}", True]}, "$$KEEP", body]}}
    return dict(stage)


def _includes(body: Mapping[str, Any]) -> bool:
    """Whether a ``$project`` names what to keep, rather than what to leave out."""
    fields = {name: value for name, value in body.items() if name != "_id"} or body
    return not all(_leaves_out(value) for value in fields.values())


def _leaves_out(value: Any) -> bool:
    if isinstance(value, Mapping):  # of fields in a document, unless it is an expression
        return bool(value) and all(not name.startswith("$") and _leaves_out(inner) for name, inner in value.items())
    return isinstance(value, bool | int | float) and not value
