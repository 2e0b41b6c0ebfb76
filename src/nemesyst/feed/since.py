"""The newest rows of a feed by event time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import decode

from nemesyst.errors import FeedError
from nemesyst.feed.binding.other_side import reader_of
from nemesyst.feed.windows.durations import canonical, duration

if TYPE_CHECKING:
    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.spec import Feed

_SHOWN = 10_000
"""Rows among which one is looked for that was there at the cutoff, where the server no longer reads at it."""


def narrowed(binding: Binding, span: Any, on: str | None) -> Feed:
    """The specification of the rows whose event time is at most ``span`` before the newest one.

    Raises:
        FeedError: The time field is not known, no row has a time, or ``span`` is no length of time.
    """
    spec, where = binding.spec, f"feed of {binding.spec.collection}: since({span!r})"
    window, split = spec.window, spec.split
    field = on or (window and window.on) or (split and split.on)
    if not field or not isinstance(field, str):
        raise FeedError(f"{where}: which field is the event time?", f'Name it: since({span!r}, on="t").')
    length = canonical(span)
    newest = _newest(binding, field)
    if newest is None:
        raise FeedError(f"{where}: no row has a date or a number as {field}", "Check the name of the field.")
    if isinstance(newest, datetime) != isinstance(length, str):
        kind, like = ("a date", '"7d"') if isinstance(newest, datetime) else ("a number", "3600, in the field's unit")
        raise FeedError(f"{where}: {field} is {kind}", f"Give a length of time such as {like}.")
    first = newest - timedelta(milliseconds=duration(length)) if isinstance(length, str) else newest - length
    return spec.with_(pipeline=[*spec.stages(), {"$match": {field: {"$gte": first}}}], params=None)


def _newest(binding: Binding, field: str) -> Any:
    """The largest date or number of a field under the cutoff; None if there is none."""
    cutoff = binding.cutoff
    rows = 1 if cutoff.way in ("history", "plain") else _SHOWN
    of_time = {"$match": {field: {"$type": ["date", "number"], "$gte": -float("inf")}}}
    of_date = {"$match": {field: {"$type": "date"}}}
    for match in (of_date, of_time):
        stages = [*binding.target.stages, match, {"$sort": {field: -1}}, {"$limit": rows}, {"$project": {field: 1}}]
        for batch in reader_of(cutoff)([stages]):
            for found in decode(bytes(batch)).values():
                return _at(found, field)
    return None


def _at(document: Any, field: str) -> Any:
    for name in field.split("."):
        document = document[name]
    return document
