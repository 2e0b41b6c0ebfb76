"""Logged values in buckets: documents of at most 1,000 points, with an array of steps, of times and of each metric.

A bucket's ``_id`` is run, attempt and number, so that reading by ``_id`` is reading in order. What a later attempt
logged takes the place of what earlier ones logged from that step on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.run.records.ops import Append

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.database import Database

    State = Database[dict[str, Any]]
    Row = tuple[Any, float, Mapping[str, float]]

POINTS = "runs.points"
_ROWS = 1000
_VALUES = 20_000
"""A bucket is full with so many points, or so many values."""
_NAMES = 200
"""Metrics of one bucket; more than these go into several."""
_NAME = 200
OPEN = 32
"""Buckets that are open at a time: one for each set of metrics that are logged together."""
_WHOLE = 2**63 - 1


@dataclass(frozen=True)
class Series:
    """A metric over the steps of a run.

    Attributes:
        steps: Steps, int64.
        times: When they were logged, in s since 1970 (UTC), float64.
        values: Values, float64.
    """

    steps: np.ndarray[Any, np.dtype[np.int64]]
    times: np.ndarray[Any, np.dtype[np.float64]]
    values: np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class _Open:
    id: str
    room: int
    count: int = 0


@dataclass
class Buckets:
    """Turns what was logged into orders.

    Attributes:
        run: Id of the run.
        attempt: Which attempt at it.
        latest: The newest value of each metric.
        step: The newest step.
    """

    run: str
    attempt: int
    latest: OrderedDict[str, float] = field(default_factory=OrderedDict)
    step: int | None = None
    _open: OrderedDict[tuple[str, ...], _Open] = field(default_factory=OrderedDict)
    _number: int = 0

    def orders(self, rows: Iterable[Row]) -> list[Append]:
        """The orders that store rows of (step, time, values)."""
        together: dict[tuple[str, ...], list[tuple[int, float, list[float]]]] = {}
        for step, time, values in rows:
            self.step = max(-_WHOLE, min(int(step), _WHOLE))
            names = list(values)  # none: no bucket
            for first in range(0, len(names), _NAMES):
                some = tuple(names[first : first + _NAMES])
                together.setdefault(some, []).append((self.step, time, [float(values[name]) for name in some]))
            self._note(values)
        return [op for names, some in together.items() for op in self._stored(names, some)]

    def _note(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.latest[name[:_NAME]] = value
            self.latest.move_to_end(name[:_NAME])
        while len(self.latest) > _NAMES:
            self.latest.popitem(last=False)

    def _stored(self, names: tuple[str, ...], rows: Sequence[tuple[int, float, list[float]]]) -> Iterator[Append]:
        begin = 0
        while begin < len(rows):
            bucket = self._bucket(names)
            some = rows[begin : begin + bucket.room]
            push: dict[str, list[Any]] = {
                "steps": [step for step, _, _ in some],
                "times": [time for _, time, _ in some],
                "values": [[values[column] for _, _, values in some] for column in range(len(names))],
            }
            head = {"attempt": self.attempt, "names": [name[:_NAME] for name in names]}
            yield Append(self.run, POINTS, bucket.id, bucket.count, len(some), head, push)
            bucket.count += len(some)
            bucket.room -= len(some)
            begin += len(some)

    def _bucket(self, names: tuple[str, ...]) -> _Open:
        found = self._open.get(names)
        if found is None or not found.room:
            room = max(1, min(_ROWS, _VALUES // max(1, len(names))))
            found = self._open[names] = _Open(bucket_id(self.run, self.attempt, self._number), room)
            self._number += 1
        self._open.move_to_end(names)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return found


def bucket_id(run: str, attempt: int, number: int) -> str:
    """The ``_id`` of a bucket: as text, they sort in order."""
    return f"{run}/{attempt:06d}/{number:09d}"


def buckets_of(
    state: State, collection: str, run: str, first: str = "", fields: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """The buckets of a run in order, from one on; all fields of them, or some."""
    past = run + chr(ord("/") + 1)
    return iter(state[collection].find({"_id": {"$gte": first or run + "/", "$lt": past}}, fields, sort=[("_id", 1)]))


def points_of(state: State, run: str, attempts: int) -> Iterator[tuple[str, Series]]:
    """Metrics and their points, a bucket at a time, in order; without those that a later attempt has replaced."""
    begins = _begins(state, run) if attempts > 1 else {}
    for bucket in buckets_of(state, POINTS, run):
        steps = np.asarray(bucket["steps"], np.int64)
        times = np.asarray(bucket["times"], np.float64)
        for name, column in zip(bucket["names"], bucket["values"], strict=True):
            later = [step for attempt, step in begins.get(name, {}).items() if attempt > bucket["attempt"]]
            keep = steps < min(later) if later else np.ones(len(steps), bool)
            if keep.any():
                yield name, Series(steps[keep], times[keep], np.asarray(column, np.float64)[keep])


def _begins(state: State, run: str) -> dict[str, dict[int, int]]:
    """The first step of each metric in each attempt."""
    begins: dict[str, dict[int, int]] = {}
    fields = {"names": 1, "attempt": 1, "steps": {"$slice": 1}}
    for bucket in buckets_of(state, POINTS, run, fields=fields):
        for name in bucket["names"]:
            begins.setdefault(name, {}).setdefault(bucket["attempt"], bucket["steps"][0])
    return begins
