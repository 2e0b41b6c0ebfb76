"""Sending a batch until it is acknowledged by a majority, through failovers, without storing a row twice."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import errors as driver
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from nemesyst.database.documents import STAMP
from nemesyst.database.explain import explain
from nemesyst.database.put.refusals import DUPLICATE, about_id, reason
from nemesyst.database.translate import no_answer
from nemesyst.errors import ConflictError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from nemesyst.database.connection import Document
    from nemesyst.database.put.batch import Batch, Tally
    from nemesyst.database.put.target import Target

_SLICE = 2.0
"""How long one look for a server that is away takes, in s."""
_RETRY = {6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
"""Failovers, shutdowns, lost connections, conflicts of transactions: the same batch can succeed a moment later."""
_STOP = {13, 166, 211, 14031, 17280} | _RETRY
"""Of a single row, but not about it: no right, a view, a full disk."""
_ABOUT_ROWS = {2, 9, 14, 15, 22, 10334}
"""Of a whole command, though one row may be the cause: the batch is halved until that row is found."""


@dataclass
class Sender:
    """Sends batches to one collection, one after another.

    Attributes:
        target: Where they go.
        on_conflict: What happens to a row whose ``_id`` is there: ``keep``, ``replace`` or ``error``.
        tally: Counts of what was acknowledged; shared with whoever reports.
        stopping: Set by another thread: send nothing again.
        patience: How long a batch is sent again, in s.
    """

    target: Target
    on_conflict: str
    tally: Tally
    stopping: Event
    patience: float
    _failing_since: float | None = None
    _before: Timestamp | None = None

    def send(self, batch: Batch) -> list[tuple[int, str]]:
        """Send a batch; give back the rows that the server refuses, as index and reason.

        Raises:
            ConflictError: ``on_conflict="error"``, and a key is there.
            UnreachableError: No acknowledgement within ``patience``.
            PyMongoError: The server refuses for another cause.
        """
        refused: list[tuple[int, str]] = []
        groups = deque([list(range(len(batch.documents)))])
        doubtful = False  # whether rows of the next group may be there, their acknowledgement lost
        while groups:
            rows = groups.popleft()
            try:
                answer, rows = self._deliver(batch, rows, doubtful=doubtful)
            except driver.PyMongoError as error:
                passing = self._passing(error)
                groups.extendleft([rows] if passing else self._halves(error, rows, refused))
                # no server was found: this time nothing was sent
                doubtful = passing and (doubtful or not isinstance(error, driver.ServerSelectionTimeoutError))
                continue
            self._failing_since, doubtful = None, False
            rest = self._account(answer, batch, rows, refused)
            if rest:
                groups.appendleft(rest)
        self.tally.size += batch.size
        return refused

    def _deliver(self, batch: Batch, rows: list[int], *, doubtful: bool) -> tuple[Mapping[str, Any], list[int]]:
        """Send rows; give back the server's answer and the rows that it is about.

        Rows of a lost acknowledgement count in the answer, not before: the sending after the look may fail too.
        """
        now = None
        if doubtful or not self.target.database.client.topology_description.has_writable_server():
            now = self._ask_again()
        left = self._missing(batch, rows, now) if doubtful else rows
        answer = self._command([RawBSONDocument(batch.documents[row]) for row in left]) if left else {"n": 0}
        return {**answer, "n": answer["n"] + len(rows) - len(left)}, left

    def _command(self, documents: list[RawBSONDocument]) -> Mapping[str, Any]:
        verb, rows = ("update", "updates") if self.on_conflict == "replace" else ("insert", "documents")
        database = self.target.database
        with pymongo.timeout(self.patience):
            if self._before is None:
                self._before = self._now()
            answer: Mapping[str, Any] = database.command(
                {
                    verb: self.target.name,
                    rows: documents,
                    "ordered": self.on_conflict == "error",
                    "writeConcern": database.write_concern.document or {"w": "majority", "j": True},
                }
            )
        late = answer.get("writeConcernError")
        if late:
            raise driver.WriteConcernError(late.get("errmsg", "not acknowledged"), late.get("code"), late)
        return answer

    def _now(self) -> Timestamp:
        """A time of the server that every row of this batch is stamped after."""
        answer = self.target.database.command("ping")
        stamp: Timestamp | None = answer.get("operationTime")
        if stamp is None:  # a standalone server stamps with its wall clock
            hello = self.target.database.command("hello")
            stamp = Timestamp(int(hello["localTime"].timestamp()), 0)
        return stamp

    def _account(
        self, answer: Mapping[str, Any], batch: Batch, rows: list[int], refused: list[tuple[int, str]]
    ) -> list[int]:
        """Count an answer; give back the rows that an ordered command left out behind a refused one."""
        self._before = answer.get("operationTime", self._before)
        upserted = len(answer.get("upserted", ()))
        if self.on_conflict == "replace":
            self.tally.stored += upserted
            self.tally.replaced += answer["n"] - upserted
        else:
            self.tally.stored += answer["n"]
        last = -1
        for error in answer.get("writeErrors", ()):
            last = error["index"]
            self._account_error(error, rows[last], batch, refused)
        return rows[last + 1 :] if self.on_conflict == "error" and last >= 0 else []

    def _account_error(self, error: Mapping[str, Any], row: int, batch: Batch, refused: list[tuple[int, str]]) -> None:
        if error["code"] == DUPLICATE and about_id(error):
            if self.on_conflict == "error":
                raise self._conflict(error, batch.places[row])
            self.tally.unchanged += 1
        elif error["code"] in _STOP:
            raise driver.WriteError(error.get("errmsg", ""), error["code"], dict(error))
        else:
            refused.append((row, reason(error)))

    def _conflict(self, error: Mapping[str, Any], place: tuple[int, str | None]) -> ConflictError:
        position, source = place
        where = f"record {position}" if source is None else f"{source}:{position}"
        return ConflictError(
            f"put into {self.target.name}: {where}: a row with the key {error.get('keyValue', {}).get('_id')!r} "
            f"is there already; {self.tally.stored} rows before it are stored",
            'on_conflict="keep" keeps the rows that are there, "replace" takes the new ones.',
        )

    def _passing(self, error: driver.PyMongoError) -> bool:
        """Whether the same rows can succeed later; waits a moment if so.

        Raises:
            UnreachableError: They could, but our patience is at its end.
        """
        if not isinstance(error, driver.ConnectionFailure) and getattr(error, "code", None) not in _RETRY:
            return False
        self._wait(error)
        return True

    def _halves(self, error: driver.PyMongoError, rows: list[int], refused: list[tuple[int, str]]) -> list[list[int]]:
        """What to send after a command failed that one row may have spoilt, the first group last."""
        if getattr(error, "code", None) not in _ABOUT_ROWS:
            raise error
        if len(rows) == 1:
            refused.append((rows[0], reason(getattr(error, "details", None) or {"errmsg": str(error)})))
            return []
        half = len(rows) // 2
        return [rows[half:], rows[:half]]

    def _wait(self, error: driver.PyMongoError) -> None:
        """Wait a moment before the batch is sent again, or give up."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        lost = self.target.timeseries and not isinstance(error, driver.NotPrimaryError)
        known = explain(str(error))
        if known is not None:  # a full disk, which does not pass by waiting
            raise type(known)(
                f"put into {self.target.name}: {known.message}; {self.tally.stored} rows are stored", known.remedy
            ) from error
        if lost or now - self._failing_since > self.patience or self.stopping.wait(0.2):
            raise UnreachableError(
                f"put into {self.target.name}: no acknowledgement from the database: {no_answer(error)}; "
                f"{self.tally.stored} rows are stored",
                "A time-series collection cannot tell rows that are there: look before you put the rest."
                if lost
                else "Check the database, then put the same records again: with a key, those that are there stay.",
            ) from error

    def _ask_again(self) -> Timestamp | None:
        """The time of a primary that answers; None from a standalone server.

        Gives up soon: then it is asked why the server is away, and whether we are to stop.
        """
        with pymongo.timeout(min(_SLICE, self.patience)):
            return self.target.database.command("ping").get("operationTime")

    def _missing(self, batch: Batch, rows: list[int], now: Timestamp | None) -> list[int]:
        """The rows without those that the failed command had stored, whose acknowledgement was lost."""
        if self.on_conflict == "replace" or self.target.timeseries:
            return rows
        there = set()
        ids = [RawBSONDocument(batch.documents[row])["_id"] for row in rows]
        with self.target.database.client.start_session() as session:
            collection = self._settled(session, now)
            for identity in ids:  # one by one: MongoDB 6 scans a whole clustered collection for an $in
                if self._is_new(identity, collection, session):
                    there.add(bson.encode({"_id": identity}))
        missing = []
        for row, identity in zip(rows, ids, strict=True):
            raw = bson.encode({"_id": identity})
            if raw in there:
                there.discard(raw)  # a second row of this key is a duplicate
            else:
                missing.append(row)
        return missing

    def _settled(self, session: ClientSession, now: Timestamp | None) -> Collection[Document]:
        """The collection as a majority has it, and with all that this primary had when it was asked.

        Rows of the lost command that are seen so cannot be rolled back any more: they count as acknowledged.
        """
        database = self.target.database
        if now is None:
            return database[self.target.name]
        session.advance_operation_time(now)
        return database.get_collection(
            self.target.name, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )

    def _is_new(self, identity: Any, collection: Collection[Document], session: ClientSession) -> bool:
        """Whether a row is there that was stamped since this batch was first sent."""
        with pymongo.timeout(self.patience):
            row = collection.find_one({"_id": identity}, {STAMP: 1}, session=session)
        stamp = None if row is None else row.get(STAMP)
        return isinstance(stamp, Timestamp) and self._before is not None and stamp > self._before
