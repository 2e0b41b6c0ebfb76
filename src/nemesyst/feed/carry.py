"""Carrying the ``_id`` of each document along to its rows, through stages that change or lose it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE_ID = "#id"
"""Where the ``_id`` of a row's document is, as ``id``, when the pipeline makes rows without it."""
_KEPT = "#keep"
"""Marks what a ``$redact`` leaves alone."""
_WHOLE = ("$$ROOT", "$$CURRENT")
_LITERALS = ("$literal", "$const")


def carried(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The stages, with the ``_id`` of each document carried along to its rows as :data:`SOURCE_ID`.

    Only there: what a stage makes of a whole document (``$$ROOT``) is the same as without.
    """
    first = list(takewhile(lambda stage: "$match" in stage, stages))  # they see documents as they are, by an index
    made = {"$set": {SOURCE_ID: {_KEPT: True, "id": "$_id"}}}
    return [*map(dict, first), made, *map(_carrying, stages[len(first) :])]


def _carrying(stage: Mapping[str, Any]) -> dict[str, Any]:
    ((name, given),) = stage.items()
    body = _unseen(given, inside=name != "$match")
    if name == "$lookup" and "pipeline" in given:  # there a whole document is one of the other collection
        body["pipeline"] = given["pipeline"]
    if name == "$project" and _includes(body):
        return {name: {**body, SOURCE_ID: 1}}
    if name == "$replaceRoot":
        return {name: {"newRoot": {"$mergeObjects": [body["newRoot"], {SOURCE_ID: f"${SOURCE_ID}"}]}}}
    if name == "$replaceWith":
        return {name: {"$mergeObjects": [body, {SOURCE_ID: f"${SOURCE_ID}"}]}}
    if name == "$redact":
        return {name: {"$cond": [{"$eq": [f"${_KEPT}", True]}, "$$KEEP", body]}}
    return {name: body}


def _unseen(value: Any, *, inside: bool) -> Any:
    """A stage's body that does not see the carried ``_id`` in whole documents.

    Args:
        value: The body, or something in it.
        inside: Whether it is an expression; of a query only what is under ``$expr`` is.
    """
    if inside and isinstance(value, str) and value in _WHOLE:
        return {"$unsetField": {"field": SOURCE_ID, "input": value}}
    if isinstance(value, Mapping):
        return {
            name: inner if name in _LITERALS else _unseen(inner, inside=inside or name == "$expr")
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_unseen(inner, inside=inside) for inner in value]
    return value


def _includes(body: Mapping[str, Any]) -> bool:
    """Whether a ``$project`` names what to keep, rather than what to leave out."""
    fields = {name: value for name, value in body.items() if name != "_id"} or body
    return not all(_leaves_out(value) for value in fields.values())


def _leaves_out(value: Any) -> bool:
    if isinstance(value, Mapping):  # of fields in a document, unless it is an expression
        return bool(value) and all(not name.startswith("$") and _leaves_out(inner) for name, inner in value.items())
    return isinstance(value, bool | int | float) and not value
