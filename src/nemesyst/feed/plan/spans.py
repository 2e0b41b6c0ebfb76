"""Ranges of ``_id`` in a clustered collection, asked for by ``min`` and ``max``.

There a filter by ``_id`` finds where to begin, and is then evaluated again for every document of the range: with
``min`` and ``max`` reading takes 0.6 of the time, and so does a walk over the keys. In an index the bounds of a filter
are exact, and it makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.feed.plan.key import least_after, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def spanned(find: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``find``, with ``min`` and ``max`` instead of a filter that is one range of ``_id``.

    Other filters stay as they are, and so do ranges of types that have no least value; the server takes no ``min``
    and ``max`` in descending order.
    """
    if -1 in (find.get("sort") or {}).values():
        return dict(find)
    found = find.get("filter") or {}
    limits = found.get("_id") if len(found) == 1 else None
    if not isinstance(limits, dict) or limits.keys() not in ({"$gte"}, {"$gte", "$lt"}):
        return dict(find)
    low, kind = limits["$gte"], type_of(limits["$gte"])
    high = limits.get("$lt")
    if high is not None and type_of(high) != kind:
        return dict(find)
    if high is None:  # a comparison finds values of one type only
        high = least_after(kind)
        if high is None:
            return dict(find)
    return {**find, "filter": {}, "min": {"_id": low}, "max": {"_id": high}, "hint": {"_id": 1}}
