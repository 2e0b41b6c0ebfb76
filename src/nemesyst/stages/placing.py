"""Where in a pipeline rows can be chosen by the value of a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from nemesyst.feed import asked_for, looks_at_one

Effect = Literal["keeps", "writes", "drops"]


def placement(field: str, stages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Where a ``$match`` on a field goes: in front, or right after the stage that makes the field.

    Args:
        field: The field, dotted or not.
        stages: A pipeline.

    Returns:
        How many stages stand before it; and how many, from the first, look at one document at a time and leave the
        field there: those decide which values there are.

    >>> placement("site", [{"$match": {"ok": True}}, {"$project": {"air": 1}}])
    (0, 1)
    >>> placement("site", [{"$set": {"site": {"$toLower": "$name"}}}, {"$group": {"_id": "$site"}}])
    (1, 1)
    """
    root, place, end = field.partition(".")[0], 0, 0
    for number, stage in enumerate(stages, 1):
        if not looks_at_one(stage) or "entity" in asked_for(stage):
            break
        effect = _effect(stage, root)
        if effect == "drops":
            break
        place = number if effect == "writes" else place
        end = number
    return place, end


def _effect(stage: Mapping[str, Any], root: str) -> Effect:
    name, body = next(iter(stage.items()))
    if name in ("$replaceRoot", "$replaceWith"):
        return "writes"
    if name == "$project":
        return _projection(body, root)
    if name == "$unset":
        return "drops" if root in _roots([body] if isinstance(body, str) else body) else "keeps"
    return "writes" if root in _written(name, body) else "keeps"


def _projection(body: Mapping[str, Any], root: str) -> Effect:
    roots = dict(zip(_roots(body), body.values(), strict=True))
    removed = [each in (0, False) for each in roots.values()]
    if root in roots:
        value = roots[root]
        return "drops" if value in (0, False) else "keeps" if value in (1, True) else "writes"
    excluding = all(removed) and bool({*roots} - {"_id"})
    return "keeps" if excluding or root == "_id" else "drops"


def _written(name: str, body: Any) -> set[str]:
    if name in ("$set", "$addFields"):
        return set(_roots(body))
    if name == "$fill":
        return set(_roots(body.get("output", ())))
    if name == "$unwind":
        parts = body if isinstance(body, Mapping) else {"path": body}
        return set(_roots([str(parts.get("path", "")).lstrip("$"), str(parts.get("includeArrayIndex", ""))]))
    if name in ("$lookup", "$graphLookup"):
        return set(_roots([str(body.get("as", ""))]))
    return set()


def _roots(names: Any) -> list[str]:
    return [str(name).split(".")[0] for name in names]
