"""The checkpoints of a run: in ``checkpoints`` of the state database, their bytes as blobs.

Bytes come first, then one transaction claims their blobs, inserts the record and takes away the oldest one: whoever is
killed on the way leaves the checkpoints of before, and blobs that ``models gc`` collects. At the end of a run that has
done its work its checkpoints go, as the versions are what came of it; those of one that failed or was stopped stay,
until ``models gc`` finds that nobody has resumed it for long.
"""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs, release, translated, within
from nemesyst.errors import CorruptBlobError, JobError
from nemesyst.run.checkpoint_writer import CheckpointWriter
from nemesyst.stages import CheckpointWarning, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemesyst.hub import Hub

    Document = dict[str, Any]

KEPT = 3
"""Checkpoints of a run that are kept."""
_NUMBERS = 2**53
"""No checkpoint has a number that large."""
_TIME = 2**32
"""No part of a cluster time is that large."""
_TIMES = 5
"""How often bytes are stored when they are collected before the record names them."""
_GONE = 5.0
"""How long the end of a run that is done may take to delete its checkpoints, in s; ``models gc`` takes what is left."""
_END = 8.0
"""How long the end of a run waits for its newest checkpoint, in s: who interrupts it kills it after 10 s."""


class Checkpoints:
    """The checkpoints of a run.

    Args:
        hub: The hub.
        run: Id of the run.
        before: Called before a checkpoint is stored: what was said until then must not be lost when it is gone on from.
    """

    def __init__(self, hub: Hub, run: str, before: Callable[[], None] | None = None) -> None:
        self.run = run
        self._connection, self._state = hub.connection, hub.settings.state
        database = self._connection.own_database(self._state)
        self._records, self._runs = database["checkpoints"], database["runs"]
        self._blobs = blobs.Blobs(self._connection, self._state)
        self._writer = CheckpointWriter(self._store)
        self._before = before
        self._begun = False
        self._attempt: Any = None

    def save(self, step: int, snapshot: Snapshot) -> None:  # noqa: ARG002 - the contract's parameter
        """Store a snapshot in the background; it replaces one that still waits."""
        self._writer.put(snapshot)

    def last(self) -> Snapshot | None:
        """The newest checkpoint whose bytes are those that were stored, wholly read; None: there is none.

        Raises:
            DatabaseError: It cannot be read.
        """
        with translated(f"look for checkpoints of run {self.run}"):
            found = list(self._records.find({"run": self.run}).sort("number", -1))
        for record in found:
            try:
                return self._read(record)
            except CorruptBlobError as error:
                text = f"a checkpoint of run {self.run} is damaged, the one before is taken: {error.message}"
                warnings.warn(text, CheckpointWarning, stacklevel=2)
        return None

    def close(self, *, finished: bool) -> None:
        """End: of a run that is done all checkpoints go; else the newest one is stored, if that can be done soon.

        Raises:
            DatabaseError: They cannot be deleted; ``models gc`` will.
        """
        ended = self._writer.close(_END, drop=finished)
        if finished and ended:
            with within(_GONE, f"delete the checkpoints of run {self.run}"):
                gone = self._taken_away({"run": self.run}, None)
                release(self._connection, self._state, gone)

    def _read(self, record: Document) -> Snapshot:
        try:
            number, step, epoch = _number(record), int(record["step"]), int(record["epoch"])
            position = None if record["position"] is None else _position(record["position"])
            named = {
                str(name): blobs.Content(str(each["digest"]), int(each["size"]), each.get("data"), each.get("blob"))
                for name, each in record["contents"].items()
            }
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CorruptBlobError(f"its record lacks something or was edited: {error!r}") from None
        ref = f"checkpoint {number} (step {step}) of run {self.run}"
        contents = {name: [self._blobs.load(content, ref)] for name, content in named.items()}
        return Snapshot(step, epoch, position, contents, number)

    def _store(self, snapshot: Snapshot) -> None:
        doing = f"store the checkpoint of step {snapshot.step} of run {self.run}"
        if self._before is not None:
            self._before()
        for attempt in range(_TIMES):
            try:
                given = snapshot.contents.items()
                contents = {name: self._blobs.store(iter(pieces), doing, anew=True) for name, pieces in given}
                return self._insert(snapshot, contents, doing)
            except blobs.CollectedError:
                if attempt == _TIMES - 1:
                    raise
        return None

    def _insert(self, snapshot: Snapshot, contents: dict[str, blobs.Content], doing: str) -> None:
        if not self._begun:
            with translated(doing):
                self._begin()
            self._begun = True
        record = _record(snapshot, contents)
        gone = self._connection.transaction(doing, partial(self._exchange, record))
        release(self._connection, self._state, gone)

    def _begin(self) -> None:
        """Make the indexes, and note which attempt of the run this is."""
        self._records.create_index([("run", 1), ("number", -1)], unique=True)
        self._records.create_index("blobs", partialFilterExpression={"blobs.0": {"$exists": True}})
        self._records.create_index("plan", sparse=True)
        self._attempt = self._attempts()

    def _attempts(self, session: Any = None) -> Any:
        """How often the run was begun; None: it has no record."""
        found = self._runs.find_one({"_id": self.run}, {"attempts": 1}, session=session)
        return None if found is None else found.get("attempts")

    def _exchange(self, record: Document, session: Any) -> list[Any]:
        """Insert a record and take away those that are too old; the blobs that these referred to."""
        if self._attempts(session) != self._attempt:
            raise JobError(f"run {self.run} is gone on with by another process", "End this one.")
        self._blobs.claim(record["blobs"], session)
        number = self._newest(session) + 1
        made = {"$setOnInsert": record, "$currentDate": {"created": True}}
        while not self._records.update_one(
            {"run": self.run, "number": number}, made, upsert=True, session=session
        ).upserted_id:
            number += 1  # one that was edited into a list of numbers has this one
        return self._taken_away({"run": self.run, "number": {"$lte": number - KEPT}}, session)

    def _newest(self, session: Any) -> int:
        """The largest number of the run's checkpoints, without those that were edited into none; 0: there is none."""
        newest = 0
        for record in self._records.find({"run": self.run}, {"number": 1}, session=session):
            with suppress(KeyError, TypeError):
                newest = max(newest, _number(record))
        return newest

    def _taken_away(self, query: Document, session: Any) -> list[Any]:
        found = list(self._records.find(query, {"blobs": 1}, session=session))
        if found:
            self._records.delete_many({"_id": {"$in": [each["_id"] for each in found]}}, session=session)
        return [blob for each in found for blob in each.get("blobs", ())]


def _record(snapshot: Snapshot, contents: dict[str, blobs.Content]) -> Document:
    named: Document = {}
    for name, content in contents.items():
        place = {"data": content.data} if content.blob is None else {"blob": content.blob}
        named[name] = {"digest": content.digest, "size": content.size, **place}
    plan = {} if snapshot.position is None else {"plan": snapshot.position["plan"]}
    return {
        "step": snapshot.step,
        "epoch": snapshot.epoch,
        "position": None if snapshot.position is None else json.dumps(snapshot.position),
        "contents": named,
        "blobs": sorted(content.blob for content in contents.values() if content.blob is not None),
        **plan,
    }


def _number(record: Document) -> int:
    """The number of a checkpoint.

    Raises:
        TypeError: It is none that a checkpoint is given; or a ``KeyError``.
    """
    number = record["number"]
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < _NUMBERS:
        raise TypeError(f"number={number!r}")
    return int(number)


def _position(text: str) -> dict[str, Any]:
    """Where the feed was; what the feed itself checks as it loads it is left to it.

    Raises:
        TypeError: It is no such thing; or a ``KeyError`` or ``ValueError``.
    """
    position: dict[str, Any] = json.loads(text)
    if lacking := {"version", "fingerprint", "plan", "bounds", "as_of", "parts"} - position.keys():
        raise KeyError(*lacking)
    seconds, increment = position["as_of"]
    if not all(isinstance(each, int) and 0 <= each < _TIME for each in (seconds, increment)):
        raise TypeError(f"as_of={position['as_of']!r}")
    for place in position["parts"].values():
        if not isinstance(place["epoch"], int) or not isinstance(place["legs"], list):
            raise TypeError(f"parts: {place!r}")
    return position
