"""Reading what a run printed and logged, also while it runs."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from nemesyst.run.records.points import OPEN, POINTS, buckets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pymongo.database import Database

    from nemesyst.run.records.record import RunRecord

    State = Database[dict[str, Any]]

OUTPUT = "runs.output"
_POLL = 0.5


@dataclass(frozen=True)
class Told:
    """What a run told.

    Attributes:
        output: A printed line, without its end; None: it logged.
        step: The step that it logged.
        values: The values.
    """

    output: str | None = None
    step: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Place:
    """Where reading a run's buckets is."""

    bucket: str = ""
    count: int = 0


def text_of(state: State, run: str, place: _Place | None = None) -> Iterator[str]:
    """Pieces of what a run printed, from a place on; says where something was left out."""
    at = place or _Place()
    begin, taken = at.bucket, at.count
    for bucket in buckets_of(state, OUTPUT, run, begin):
        name = bucket["_id"]
        if _lacking(at.bucket, name):
            yield _GAP
        at.bucket, at.count = name, bucket["count"]
        yield from bucket["pieces"][taken if name == begin else 0 :]


_GAP = "[some output is not kept]\n"


def _lacking(before: str, bucket: str) -> bool:
    """Whether buckets between two are gone."""
    attempt, _, number = before.rpartition("/")
    return bucket.startswith(attempt + "/") and int(bucket.rpartition("/")[2]) > int(number or 0) + 1


def follow(
    state: State, get: Callable[[], RunRecord], lines: int | None, wait: Callable[[], Any] | None
) -> Iterator[Told]:
    """See :meth:`Runs.tail`."""
    record = get()
    printed, logged = _Place(), _Logged(state, record.id)
    yield from (Told(output=line) for line in deque(_lines(state, record.id, printed), maxlen=lines))
    yield from logged.last()
    while not record.over:
        time.sleep(_POLL) if wait is None else wait()
        record = get()  # before the rest is read: what it wrote to its end is seen
        yield from (Told(output=line) for line in _lines(state, record.id, printed))
        yield from logged.more()


def _lines(state: State, run: str, place: _Place) -> Iterator[str]:
    for piece in text_of(state, run, place):
        yield from piece.removesuffix("\n").split("\n")


class _Logged:
    """What a run logs, as it comes: metrics that are logged apart grow in buckets of their own."""

    def __init__(self, state: State, run: str) -> None:
        self._state, self._run = state, run
        self._counts: dict[str, int] = {}

    def last(self) -> list[Told]:
        """The newest that is there; older ones are passed over."""
        grown = self._grown()
        rows = [row for bucket in list(grown)[-OPEN:] for row in self._rows(bucket, grown[bucket] - 1)]
        return [told for _, told in sorted(rows, key=itemgetter(0))][-1:]

    def more(self) -> list[Told]:
        """What has come since."""
        before = dict(self._counts)
        rows = [row for bucket in self._grown() for row in self._rows(bucket, before.get(bucket, 0))]
        return [told for _, told in sorted(rows, key=itemgetter(0))]

    def _grown(self) -> dict[str, int]:
        """Buckets that have more points than before; of the old ones, those that may grow are looked at."""
        begin = next(iter(self._counts), "")
        found = {each["_id"]: each["count"] for each in buckets_of(self._state, POINTS, self._run, begin, {"count": 1})}
        grown = {bucket: count for bucket, count in found.items() if count > self._counts.get(bucket, 0)}
        self._counts = dict(list(found.items())[-OPEN:])
        return grown

    def _rows(self, bucket: str, first: int) -> Iterator[tuple[float, Told]]:
        found = self._state[POINTS].find_one({"_id": bucket}) or {"steps": ()}
        for row in range(first, len(found["steps"])):
            values = {name: column[row] for name, column in zip(found["names"], found["values"], strict=True)}
            yield found["times"][row], Told(step=found["steps"][row], values=values)
