"""Which fields a stage writes, which a query reads, and what becomes of ``_id``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_LOGICAL = frozenset({"$and", "$or", "$nor"})
_SAME = ("$_id", "$$ROOT._id", "$$CURRENT._id")


class Id(IntEnum):
    """What the ``_id`` of a row is."""

    LOST = 0
    OWN = 1
    """That of the document that the row comes from; several rows may have it."""
    UNIQUE = 2
    """That of the document, and no other row has it."""


def written(  # noqa: PLR0911 - one stage after another
    stage: Mapping[str, Any],
) -> Collection[str] | None:
    """Fields that a stage may change; None if it may change any, or the number and order of documents at will.

    >>> written({"$unwind": {"path": "$readings", "includeArrayIndex": "i"}})
    ['readings', 'i']
    """
    name, body = next(iter(stage.items()))
    if name == "$match":
        return ()
    if name in {"$set", "$addFields"} and isinstance(body, Mapping):
        return list(body)
    if name == "$unset":
        return [body] if isinstance(body, str) else list(body)
    if name in {"$lookup", "$graphLookup"} and isinstance(body, Mapping):
        return [str(body.get("as"))]
    if name == "$unwind":
        given = body if isinstance(body, Mapping) else {"path": body}
        found = [str(given.get("path")).removeprefix("$"), given.get("includeArrayIndex")]
        return [each for each in found if each]
    if name == "$fill" and isinstance(body, Mapping) and isinstance(body.get("output"), Mapping):
        return list(body["output"])
    return None


def keeps(stages: Iterable[Mapping[str, Any]], fields: Iterable[str]) -> bool:
    """Whether the fields leave the stages as they enter them, so that a query on them may come first."""
    fields = list(fields)
    for stage in stages:
        changed = written(stage)
        if changed is None:
            changed = [field for field in fields if not _projected(stage, field)]
        if any(overlap(one, other) for one in changed for other in fields):
            return False
    return True


def _projected(stage: Mapping[str, Any], field: str) -> bool:
    """Whether a ``$project`` names a field only to keep it."""
    body = stage.get("$project")
    if not isinstance(body, Mapping):
        return False
    if field == "_id" and not any(str(key).startswith("_id.") for key in body):
        return _is_kept(body.get("_id", 1))
    return field in body and _is_kept(body[field])


def _is_kept(value: Any) -> bool:
    return isinstance(value, bool | int | float) and bool(value)


def overlap(one: str, other: str) -> bool:
    """Whether two dotted names are the same, or one lies in the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def asked(query: Mapping[str, Any]) -> set[str] | None:
    """Fields that a query looks at; None if that cannot be told from it."""
    found: set[str] = set()
    for key, value in query.items():
        if key in _LOGICAL:
            for inner in value if isinstance(value, list | tuple) else ():
                fields = asked(inner) if isinstance(inner, Mapping) else None
                if fields is None:
                    return None
                found |= fields
        elif key == "$comment":
            continue
        elif key.startswith("$"):
            return None
        else:
            found.add(key)
    return found


def id_after(stage: Mapping[str, Any]) -> Id:
    """What a stage makes of an ``_id`` that was unique before it."""
    name, body = next(iter(stage.items()))
    if name in _FREE:
        return Id.UNIQUE
    special = _SPECIAL.get(name)
    if special is not None:
        return special(body)
    if name in {"$set", "$addFields"} and isinstance(body, Mapping):
        return _id_if(not any(overlap(key, "_id") and value not in _SAME for key, value in body.items()))
    changed = written(stage)
    if changed is None or any(overlap(field, "_id") for field in changed):
        return Id.LOST
    return Id.OWN if name == "$unwind" else Id.UNIQUE


def _id_if(kept: bool) -> Id:
    return Id.UNIQUE if kept else Id.LOST


def _project(body: Any) -> Id:
    if not isinstance(body, Mapping) or any(str(key).startswith("_id.") for key in body):
        return Id.LOST
    value = body.get("_id", 1)
    return _id_if(value in _SAME if isinstance(value, str) else _is_kept(value))


def _replace(root: Any) -> Id:
    if isinstance(root, Mapping) and set(root) == {"$mergeObjects"}:
        merged = root["$mergeObjects"]
        root = merged[-1] if isinstance(merged, list | tuple) and merged else None
    return _id_if(root == "$$ROOT")


def _redact(body: Any) -> Id:
    # where it descends it may prune what is in an _id that is a document
    return _id_if(not _holds(body, "$$DESCEND"))


def _window(body: Any) -> Id:
    output = body.get("output") if isinstance(body, Mapping) else None
    return _id_if(isinstance(output, Mapping) and not any(overlap(field, "_id") for field in output))


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(inner, text) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds(inner, text) for inner in value)
    return bool(value == text)


_FREE = frozenset({"$match", "$sort", "$limit", "$skip", "$sample", "$geoNear"})
_SPECIAL = {
    "$project": _project,
    "$replaceRoot": lambda body: _replace(body.get("newRoot") if isinstance(body, Mapping) else None),
    "$replaceWith": _replace,
    "$redact": _redact,
    "$setWindowFields": _window,
}
