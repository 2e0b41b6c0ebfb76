"""What is written about a run, as small orders: each may be carried out twice, and is JSON meanwhile if need be."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.database import insert_new

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

    State = Database[dict[str, Any]]


@dataclass(frozen=True)
class Append:
    """Add to the arrays of a bucket; a bucket that holds it already stays as it is.

    Attributes:
        run: Id of the run.
        collection: Where the bucket is.
        id: The bucket's ``_id``.
        at: How many items the bucket has had before; 0: it is new.
        size: How many more these are.
        head: Fields of a new bucket.
        push: Items by field; a list of lists goes into arrays of the field's array.
    """

    run: str
    collection: str
    id: str
    at: int
    size: int
    head: Mapping[str, Any]
    push: Mapping[str, list[Any]]

    def apply(self, state: State) -> None:
        """Carry it out."""
        buckets, end = state[self.collection], self.at + self.size
        new = {"_id": self.id, "run": self.run, **self.head, "count": end, **self.push}
        if self.at == 0:
            insert_new(buckets, [new], f"record run {self.run}")
            return
        # "less than": what came before may have been dropped, when the disk was full, too
        wanted = {"_id": self.id, "count": {"$lt": end}}
        pushed = {name: {"$each": items} for name, items in self._columns()}
        done = buckets.update_one(wanted, {"$push": pushed, "$set": {"count": end}})
        if not done.matched_count and buckets.find_one({"_id": self.id}, {"_id": 1}) is None:
            insert_new(buckets, [new], f"record run {self.run}")

    def _columns(self) -> list[tuple[str, list[Any]]]:
        columns: list[tuple[str, list[Any]]] = []
        for name, items in self.push.items():
            if items and isinstance(items[0], list):
                columns += [(f"{name}.{number}", column) for number, column in enumerate(items)]
            else:
                columns.append((name, items))
        return columns


@dataclass(frozen=True)
class Drop:
    """Remove a bucket."""

    run: str
    collection: str
    id: str

    def apply(self, state: State) -> None:
        """Carry it out."""
        state[self.collection].delete_one({"_id": self.id})


@dataclass(frozen=True)
class Amend:
    """Set fields of a run's record, as long as it is at this attempt."""

    run: str
    attempt: int
    values: Mapping[str, Any]

    def apply(self, state: State) -> None:
        """Carry it out."""
        state["runs"].update_one({"_id": self.run, "attempts": self.attempt}, {"$set": dict(self.values)})


@dataclass(frozen=True)
class Finish:
    """Write how an attempt ended; one whose end is known stays as it is, and a newer one is left alone.

    Attributes:
        run: Id of the run.
        attempt: Which one.
        status: ``done``, ``failed`` or ``stopped``; one that was asked to stop has stopped.
        wall: When it ended, by this node's clock, in s since 1970.
        values: What else is known.
        instead: Whether it says more than ``stopped`` does, and takes its place.
    """

    run: str
    attempt: int
    status: str
    wall: float
    values: Mapping[str, Any]
    instead: bool = False

    def apply(self, state: State) -> None:
        """Carry it out."""
        ago = int(max(0.0, time.time() - self.wall) * 1000)
        ended = {"$subtract": ["$$NOW", ago]}
        asked = {"$ne": [{"$type": "$stop"}, "missing"]}
        stopped = {"$cond": [asked, "stopped", self.status]} if self.status == "failed" else self.status
        known = {name: {"$literal": value} for name, value in self.values.items()}
        seconds = {"$max": [0.0, {"$divide": [{"$subtract": [ended, "$begun"]}, 1000.0]}]}
        ends = {"$in": ["running", "stopped"]} if self.instead else "running"
        change = {"$set": {**known, "status": stopped, "ended": ended, "heartbeat": ended, "seconds": seconds}}
        state["runs"].update_one({"_id": self.run, "attempts": self.attempt, "status": ends}, [change])


Op = Append | Drop | Amend | Finish
_KINDS: dict[str, type[Op]] = {kind.__name__: kind for kind in (Append, Drop, Amend, Finish)}


def to_json(op: Op) -> dict[str, Any]:
    """An order as JSON values."""
    return {"op": type(op).__name__, **asdict(op)}


def from_json(values: Mapping[str, Any]) -> Op:
    """The order that :func:`to_json` wrote.

    Raises:
        KeyError: It is none; or a ``TypeError``.
    """
    rest = dict(values)
    return _KINDS[rest.pop("op")](**rest)
