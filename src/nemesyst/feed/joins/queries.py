"""What is asked of the other collection.

Each query is a list of pipelines, whose rows are wanted one after another: some hundred small ones, each a seek into an
index, cost about 30 µs each when they go to the server as one, and a round trip each otherwise. See :func:`united`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import MinKey

from nemesyst.feed.joins.keys import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nemesyst.feed.joins.keys import Array
    from nemesyst.feed.joins.spec import AsOf
    from nemesyst.feed.pipeline import Stage

Branches = list[list["Stage"]]

_TOGETHER = 250
"""Pipelines that go to the server as one; it takes up to 1,000 stages."""


def united(collection: str, branches: Sequence[Sequence[Stage]]) -> list[Stage]:
    """One pipeline over a collection that gives the rows of several, one after another."""
    first, *others = branches
    return [*first, *({"$unionWith": {"coll": collection, "pipeline": list(each)}} for each in others)]


class Queries:
    """Makes the queries of a join.

    Args:
        spec: The join.
        seek: ``"index"`` when there is an index on (by, on), ``"clustered"`` when ``_id`` is {by, on}; None without.
        by_type: Type of ``by``, as ``$type`` has it; None: any.
        on_type: Type of ``on``.
    """

    def __init__(self, spec: AsOf, seek: str | None, by_type: str | None, on_type: str) -> None:
        self._spec, self._by, self._on = spec, spec.right_by, spec.right_on
        self._clustered = seek == "clustered"
        self._types: dict[str, Any] = {self._on: {"$type": on_type}}
        if self._by is not None and by_type is not None:
            self._types[self._by] = {"$type": by_type}
        self._wanted: Stage = {"$project": _paths([*([self._by] if self._by else []), self._on, *spec.renamed])}

    def whole(self) -> Branches:
        """All rows, by ``_id``."""
        return [[{"$sort": {"_id": 1}}, *self._spec.stages, {"$match": self._types}, self._wanted]]

    def scan(self, devices: Array | None, low: Array | None, high: Array) -> Branches:
        """Rows of some devices from a time on (None: from the beginning) up to another, by ``_id``."""
        match: dict[str, Any] = {} if self._by is None or devices is None else {self._by: {"$in": plain(devices)}}
        match[self._on] = {"$lte": plain(high)[0], **({} if low is None else {"$gte": plain(low)[0]})}
        return [[{"$sort": {"_id": 1}}, *self._spec.stages, {"$match": match}, self._wanted]]

    def between(self, devices: Array | None, froms: Array, untils: Array, *, tied: bool) -> Iterator[Branches]:
        """Rows of each device between two times, both included.

        Args:
            devices: The devices; None: there is but one, without a name.
            froms: First time of each.
            untils: Last time of each.
            tied: Whether rows of equal times shall come by ``_id``.
        """
        order: list[Stage] = [{"$sort": {self._on: 1, "_id": 1}}] if tied else []
        ends = zip(_named(devices, len(froms)), plain(froms), plain(untils), strict=True)
        yield from _grouped(
            [
                [{"$match": self._range(device, "$gte", first, "$lte", last)}, *order, *self._spec.stages, self._wanted]
                for device, first, last in ends
            ]
        )

    def before(self, devices: Array | None, untils: Array, floors: Array | None, rank: int) -> Iterator[Branches]:
        """For each device the time of the ``rank``-th newest row before a time; of the oldest, if there are fewer.

        The rows have ``on`` and the device's place as ``at``; their ``_id`` is not that of a document, so that none
        is left out as one after the cutoff.

        Args:
            devices: The devices; None: there is but one, without a name.
            untils: The time of each before which it is.
            floors: The time of each from which on it is; None: from the beginning.
            rank: 1 for the newest.
        """
        newest = {"_id": -1} if self._clustered else {self._on: -1}
        oldest: list[Stage] = [{"$sort": {self._on: 1}}, {"$limit": 1}] if rank > 1 else []
        named = {"_id": {"asof": "$_id"}, "on": f"${self._on}"}
        lowest: list[Any] = [None] * len(untils) if floors is None else plain(floors)
        ends = zip(_named(devices, len(untils)), lowest, plain(untils), strict=True)
        yield from _grouped(
            [
                [
                    {"$match": {**self._range(device, "$gte", first, "$lt", last), **self._typed()}},
                    {"$sort": newest},
                    *self._spec.stages,
                    {"$limit": rank},
                    *oldest,
                    {"$project": {**named, "at": {"$literal": place}}},
                ]
                for place, (device, first, last) in enumerate(ends)
            ]
        )

    def _range(self, device: Any, above: str, first: Any, below: str, last: Any) -> dict[str, Any]:
        if self._clustered:
            lowest = MinKey() if first is None else first
            return {"_id": {above: {self._by: device, self._on: lowest}, below: {self._by: device, self._on: last}}}
        times = {below: last, **({} if first is None else {above: first})}
        return {**({} if self._by is None else {self._by: device}), self._on: times}

    def _typed(self) -> dict[str, Any]:
        """What keeps rows without a time out of a range of ``_id``s, which are compared across types."""
        return {self._on: self._types[self._on]} if self._clustered else {}


def _named(devices: Array | None, count: int) -> list[Any]:
    return [None] * count if devices is None else plain(devices)


def _grouped(branches: Branches) -> Iterator[Branches]:
    for start in range(0, len(branches), _TOGETHER):
        yield branches[start : start + _TOGETHER]


def _paths(names: Sequence[str]) -> dict[str, int]:
    """A projection of dotted names, without those that lie in another."""
    parts = {name: name.split(".") for name in names}
    return {
        name: 1
        for name, path in parts.items()
        if not any(len(other) < len(path) and path[: len(other)] == other for other in parts.values())
    }
