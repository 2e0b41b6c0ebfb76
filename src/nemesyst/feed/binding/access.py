"""How the documents of a collection are gone through: along which key, by which index, or as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import json_util

from nemesyst.database import indexes
from nemesyst.errors import FeedError
from nemesyst.feed.judging import advise, keeps
from nemesyst.feed.judging.advice import keyed_by
from nemesyst.feed.plan import Key
from nemesyst.feed.rows import Access

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.feed.binding.target import Target

_SORTED = 200_000
"""Up to so many documents are sorted for windows where no index gives their order."""


@dataclass(frozen=True)
class Approach:
    """How rows are come by.

    Attributes:
        access: How documents are gone through.
        clustered: Whether device and time of a window are in ``_id``.
        whole: Why the pipeline must run as a whole; None: chunks can run it.
    """

    access: Access
    clustered: bool = False
    whole: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As BSON values that hold no operators."""
        access = self.access
        match = None if access.match is None else json_util.dumps(access.match)
        key = list(access.key.fields)
        return {
            "key": key,
            "match": match,
            "hint": access.hint,
            "at_once": access.at_once,
            "clustered": self.clustered,
            "whole": self.whole,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Approach:
        """What :meth:`as_dict` gave."""
        match = None if values["match"] is None else json_util.loads(values["match"])
        access = Access(Key(tuple(values["key"])), match, values["hint"], values["at_once"])
        return cls(access, values["clustered"], values["whole"])


def approach(target: Target) -> Approach:
    """Choose how to come by the rows.

    Raises:
        FeedError: Windows need an order that no index gives.
    """
    window, judgement, place = target.spec.window, target.judgement, target.place
    order = () if window is None else tuple(name for name in (window.by, window.on) if name is not None)
    if not judgement.per_document:
        return _as_a_whole(order, f"it looks across documents ({judgement.reasons[0]})")
    if target.series is not None:
        return Approach(Access(Key(order or (target.series,))))
    if order:
        return _in_order(target, order)
    if judgement.match is None:  # no index is of use
        advice, match = None, None
    else:
        match = dict(judgement.match)
        advice = advise(place.connection, place.database, target.collection, match)
    if advice is not None and advice.index is not None and advice.key not in (None, "_id"):
        return Approach(Access(Key((str(advice.key), "_id")), match, advice.index.name))
    if advice is not None and advice.access.kind == "index":
        return Approach(Access(Key(), match, at_once=True))
    return Approach(Access())


def _as_a_whole(order: tuple[str, ...], why: str) -> Approach:
    return Approach(Access(Key(order or ("_id",))), whole=why)


def _in_order(target: Target, order: tuple[str, ...]) -> Approach:
    connection, database = target.place.connection, target.place.database
    if not keeps(target.stages, order):
        return _as_a_whole(order, f"it changes {' or '.join(order)}, by which windows are made")
    known = indexes.indexes_of(connection, database, target.collection)
    if keyed_by(connection, database, target.collection, known, order):
        return Approach(Access(), clustered=True)
    wanted = [(name, 1) for name in order]
    for index in known:
        if index.ordered and not index.clustered and list(index.keys)[: len(order)] == wanted:
            return Approach(Access(Key(order), None, index.name))
    if (target.documents() or 0) <= _SORTED:
        return _as_a_whole(order, f"no index gives its rows by {', '.join(order)}")
    advice = advise(connection, database, target.collection, None, order=order)
    raise FeedError(
        f"feed of {target.spec.collection}: windows need its rows by {', '.join(order)}, and no index gives that order",
        f"Create one: {advice.command}; or put rows with key={order!r}, which is faster still.",
    )
