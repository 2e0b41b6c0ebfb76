"""One change stream from the cutoff on: which rows came, changed and went since."""

from __future__ import annotations

import threading
import time as clock
import weakref
from typing import TYPE_CHECKING, Any

from bson.timestamp import Timestamp

from nemesyst.database import stopping
from nemesyst.database.cutoff.changes import Changes, Tally
from nemesyst.database.cutoff.events import Events
from nemesyst.database.cutoff.exclusions import Exclusions
from nemesyst.database.cutoff.ids import key_of
from nemesyst.database.cutoff.patience import PATIENCE, Patience, code_of, passes
from nemesyst.database.cutoff.times import after, before, number, token_time
from nemesyst.database.documents import STAMP
from nemesyst.database.translate import translated
from nemesyst.errors import DatabaseError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.database.connection import Connection

MOST = 3_000_000
"""Rows that are excluded by ``_id``, of about 200 bytes each; above that only stamps can tell."""
_RESTING = 1.0
"""How long closing the cursor waits for whoever uses it, in s."""
_LOST = {280, 286}  # ChangeStreamFatalError, ChangeStreamHistoryLost
_ENDS = {"drop": "dropped", "rename": "renamed, or another one took its place", "dropDatabase": "dropped"}
_NEEDED = {"operationType": 1, "clusterTime": 1, "documentKey._id": 1, f"fullDocument.{STAMP}": 1}


class LostError(DatabaseError):
    """The changes since the cutoff cannot be had: the oplog begins later, or they are too many."""


class Stream:
    """Follows a collection from the moment after a cutoff; asked by any thread, read by one at a time.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection.
        cutoff: The time after which it begins.
        read_preference: Which members may be asked; None for the connection's own.
        patience: How long to go on while no member answers, in s.

    Attributes:
        position: Every change up to this cluster time is known.
        exclusions: The rows that came since the cutoff.
        early: Of these, the ``_id``s of those whose stamp is not later than the cutoff.
    """

    def __init__(
        self,
        connection: Connection,
        database: str,
        collection: str,
        cutoff: Timestamp,
        *,
        read_preference: Any = None,
        patience: float = PATIENCE,
    ) -> None:
        self._place = (connection, database, collection)
        self._preference = read_preference
        self._doing = f"following {database}.{collection}"
        self._cutoff = cutoff
        self._patience = patience
        self._waiting = Patience(self._doing, patience)
        self._lock = threading.Lock()
        self._events: Events | None = None
        self._finalizer: weakref.finalize[..., Stream] | None = None
        self._token: Mapping[str, Any] | None = None
        self._ended: DatabaseError | None = None
        self._tallies = {kind: Tally() for kind in ("insert", "update", "replace", "delete")}
        self._began = self._closed = False
        self.position = cutoff
        self.exclusions = Exclusions(number(cutoff))
        self.early: list[Any] = []

    def begin(self) -> None:
        """Make sure that the changes since the cutoff can be had.

        Raises:
            LostError: They cannot.
            UnreachableError: No member answered in time.
        """
        with self._lock:
            while not self._began:
                self._step()

    def advance(self, time: Timestamp) -> None:
        """Read on until every change up to a time is known.

        Raises:
            LostError: The changes cannot be had any more.
            DatabaseError: The collection is another one now.
            UnreachableError: No member answered, or none got there, in time.
        """
        with self._lock:
            moved = clock.monotonic()
            if self._events is not None:
                self._events.hurry()
            while number(self.position) < number(time):
                was = self.position
                self._step()
                if number(self.position) > number(was):
                    moved = clock.monotonic()
                elif clock.monotonic() - moved > self._patience:
                    raise UnreachableError(
                        f"{self._doing}: the member that is read from is {self._patience:.0f} s behind",
                        "Check the members of the replica set, or read from the primary.",
                    )
            self.exclusions.forget()

    def changes(self) -> Changes:
        """What is known now."""
        tallies = self._tallies
        return Changes(
            tallies["insert"].count,
            tallies["update"].count,
            tallies["replace"].count,
            tallies["delete"].count,
            {f"{kind}d".replace("insertd", "inserted"): list(tally.first) for kind, tally in tallies.items()},
            self.position,
        )

    def close(self) -> None:
        """Close the cursor; silent if the server is gone."""
        self._closed = True  # whoever is reading on stops
        with self._lock:
            self._end()

    def rest(self) -> None:
        """Close the cursor until it is needed again; what is known stays known."""
        if self._lock.acquire(timeout=_RESTING):  # whoever holds it longer than that needs the cursor
            try:
                self._end()
            finally:
                self._lock.release()

    def _end(self) -> None:
        events, self._events = self._events, None
        if self._finalizer is not None:
            self._finalizer.detach()
        if events is not None:
            events.close()

    def _step(self) -> None:
        """Take some events, or learn that there are none up to some time."""
        stopping.check()
        if self._ended is not None:
            raise self._ended
        if self._closed:
            raise LostError(f"{self._doing}: this cutoff is closed")
        try:
            with translated(self._doing):
                found = self._opened().next()
        except DatabaseError as error:
            self._end()
            if code_of(error) in _LOST:
                raise LostError(f"{self._doing}: the server's oplog begins later than the cutoff") from error
            if not passes(error):
                raise
            self._waiting.wait(error)
            return
        self._waiting.succeeded()
        for event in found.events:
            self._take(event)
        self._token, self._began = found.token, True
        reached = token_time(found.token)
        # a transaction has many events of one time, of which this batch may have the first only
        self._reach(before(reached) if found.events else reached)

    def _opened(self) -> Events:
        if self._events is None:
            start: dict[str, Any] = {"startAtOperationTime": after(self._cutoff)}
            if self._token is not None:
                start = {"resumeAfter": self._token}
            self._events = Events(*self._place, start=start, project=_NEEDED, read_preference=self._preference)
            self._finalizer = weakref.finalize(self, _abandon, self._events)  # for one that is dropped
        if (stopper := stopping.current()) is not None:
            stopper.leave(self, self.rest)
        return self._events

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["operationType"]
        if kind in self._tallies:
            self._row(kind, event["documentKey"]["_id"], number(event["clusterTime"]), event)
        elif kind in _ENDS:
            self._ended = DatabaseError(
                f"{self._doing}: the collection was {_ENDS[kind]} after the cutoff, so its rows are gone",
                "Bind the feed again: the collection is another one now.",
            )
            raise self._ended

    def _row(self, kind: str, identity: Any, time: int, event: Mapping[str, Any]) -> None:
        key = key_of(identity)
        if kind == "insert":
            self._tallies[kind].add(identity, distinct=False)
            self.exclusions.insert(key, time)
            stamp = (event.get("fullDocument") or {}).get(STAMP)
            if isinstance(stamp, Timestamp) and number(stamp) <= number(self._cutoff):
                self.early.append(identity)
            if len(self.exclusions) > MOST:
                raise LostError(f"{self._doing}: more than {MOST:,} rows were inserted since the cutoff")
            return
        if key not in self.exclusions:
            self._tallies[kind].add(identity, distinct=kind != "delete")
        if kind == "delete":
            self.exclusions.delete(key, time)

    def _reach(self, time: Timestamp) -> None:
        if number(time) > number(self.position):
            self.position = time


def _abandon(events: Events) -> None:
    """Close the cursor of a stream that was dropped; elsewhere, as garbage may be collected inside of the driver."""
    if threading.main_thread().is_alive():
        threading.Thread(target=events.close, name="nemesyst-cutoff-close", daemon=True).start()
    else:
        events.close()
