"""In which order the rows of a pipeline come that runs once, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nemesyst.feed.pipeline import looks_at_one
from nemesyst.feed.plan import Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.pipeline import Stage

_MOST = 32
"""Fields that a ``$sort`` may have."""


def ordered(stages: Sequence[Stage], key: Key) -> list[Stage]:
    """The stages, and at their end the order of the plan, unless it is that of ``_id`` and they have one of their own.

    Rows that are alike in a ``$sort`` of the user's own come by ``_id``, so that the order is the same each time.

    Args:
        stages: The pipeline.
        key: The plan's.

    >>> ordered([{"$sort": {"t": 1}}, {"$limit": 3}], Key())
    [{'$sort': {'t': 1, '_id': 1}}, {'$limit': 3}]
    >>> ordered([{"$group": {"_id": "$unit"}}], Key())
    [{'$group': {'_id': '$unit'}}, {'$sort': {'_id': 1}}]
    """
    found = _sorted_last(stages) if key == Key() else None
    return [*stages, {"$sort": key.exact_sort}] if found is None else found


def _sorted_last(stages: Sequence[Stage]) -> list[Stage] | None:
    """The stages with the sort that decides on the order of their rows made exact; None: there is none."""
    for place in range(len(stages) - 1, -1, -1):
        name, body = next(iter(stages[place].items()))
        if name == "$sort" and isinstance(body, Mapping):
            return [*stages[:place], {"$sort": _exact(body)}, *stages[place + 1 :]]
        if name == "$sortByCount":
            counted: list[Stage] = [{"$group": {"_id": body, "count": {"$sum": 1}}}, {"$sort": {"count": -1, "_id": 1}}]
            return [*stages[:place], *counted, *stages[place + 1 :]]
        if not looks_at_one(stages[place]) and name not in ("$limit", "$skip"):
            return None
    return None


def _exact(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, **({"_id": 1} if "_id" not in body and len(body) < _MOST else {})}
