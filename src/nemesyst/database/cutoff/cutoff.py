"""One collection as it was at one cluster time, for as long as that can be told."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from bson.timestamp import Timestamp
from pymongo import errors as driver

from nemesyst.database.cutoff.changes import Changes
from nemesyst.database.cutoff.ids import Ids
from nemesyst.database.cutoff.kept import Kept, joined
from nemesyst.database.cutoff.origin import Origin, origin, told
from nemesyst.database.cutoff.others import CheckedRead, Others
from nemesyst.database.cutoff.patience import PATIENCE
from nemesyst.database.cutoff.read import Command
from nemesyst.database.cutoff.stream import LostError, Stream
from nemesyst.database.cutoff.times import present_time
from nemesyst.database.raw.reader import FIRST_ROWS
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from nemesyst.database.connection import Connection
    from nemesyst.database.cutoff.rate import RateLimit
    from nemesyst.database.cutoff.read import CutoffRead

SOON = 3600
"""Until so many s after the cutoff the change stream is tried before kept exclusions; later it has much to catch up."""
_LIFETIME, _MARGIN = 60, 10
"""How long a transaction may take by default, and what may pass between a row's stamp and its commit besides, in s."""


class Cutoff:
    """One collection under one cutoff: reads of the rows that were there at its time, and of no others.

    A read goes one of these ways, the first that is still possible (:attr:`way`):

    - ``history``: the server reads at the cutoff itself, for about five minutes; the collections of a ``$lookup`` too.
    - ``stream``: a snapshot of its own time, without the ``_id``s that a change stream shows inserted since. Rows that
      were updated since have their new values, deleted ones lack: see :meth:`changes`. A ``$lookup`` sees the snapshot.
    - ``stamp``: the oplog begins later, or more than 3,000,000 rows came since: a snapshot of the rows that are stamped
      up to the cutoff, without the kept exclusions. Rows that were replaced since lack, too.
    - ``plain``: time-series and capped collections and standalone servers, and views when their history is gone: the
      rows of now.

    Other collections that a pipeline looks into are read at the same time as its own. Once that is not the cutoff, they
    must be as they were, or the read ends with an error that says so.

    Threads may share it. It goes into another process as :meth:`as_dict`.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection.
        time: The cutoff, not later than the server's time; see :func:`as_time`.
        kept: What :meth:`kept` gave when the plan was stored, also as the dict.
        read_preference: Which members may be read; None for the connection's own.
        limit: How fast to read.
        patience: How long a read goes on while no member answers, in s.
    """

    def __init__(
        self,
        connection: Connection,
        database: str,
        collection: str,
        time: Timestamp,
        *,
        kept: Kept | Mapping[str, Any] | None = None,
        read_preference: Any = None,
        limit: RateLimit | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.connection = connection
        self.database = database
        self.collection = collection
        self.time = time
        self.read_preference = read_preference
        self.limit = limit
        self.patience = patience
        self.one_reply = False
        # what is known beside the stream: given, or found by one that is closed now
        self._known = kept if kept is None or isinstance(kept, Kept) else Kept.from_dict(kept)
        self._lock = threading.RLock()
        self._ways: list[str] = []
        self._causes: dict[str, DatabaseError] = {}
        self._origin: Origin | None = None
        self._just_seen = False
        self._stream: Stream | None = None
        self._lifetime: int | None = None
        self._others = Others(
            connection, database, collection, partial(Stream, cutoff=time, read_preference=read_preference)
        )

    @classmethod
    def from_dict(
        cls, connection: Connection, state: Mapping[str, Any], *, read_preference: Any = None, limit: Any = None
    ) -> Self:
        """Make the same cutoff again out of :meth:`as_dict`."""
        made = cls(
            connection,
            state["database"],
            state["collection"],
            Timestamp(*state["time"]),
            kept=state["kept"],
            read_preference=read_preference,
            limit=limit,
        )
        if state["kind"] is not None:
            made._origin = Origin(state["kind"], None if state["uuid"] is None else bytes.fromhex(state["uuid"]))
        return made

    def see(self, found: Mapping[str, Any]) -> None:
        """Take what the server has just said of the collection, in a list of them, instead of asking it."""
        self._origin, self._just_seen = told(found), True

    def as_dict(self) -> dict[str, Any]:
        """What another process, or a stored plan, needs: JSON values, kept exclusions included. Asks no server."""
        there, kept = self._origin, self.kept()
        return {
            "database": self.database,
            "collection": self.collection,
            "time": [self.time.time, self.time.inc],
            "kind": there and there.kind,
            "uuid": None if there is None or there.uuid is None else there.uuid.hex(),
            "kept": kept and kept.as_dict(),
        }

    def read(
        self,
        *,
        find: Mapping[str, Any] | None = None,
        stages: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        first_rows: int = FIRST_ROWS,
        batch_bytes: int | None = None,
        ahead: int = 0,
        now: bool = False,
    ) -> CutoffRead:
        """Read by a ``find`` or a pipeline; the arguments are those of a ``RawReader``.

        The order must be the same each time (a sort, a bound on a clustered collection): after a failover the rows that
        were given are skipped. Rows come with their ``_id`` unless nothing can be excluded, so project none away.
        With ``now`` the rows of now are read, with the same patience.
        """
        return CheckedRead(self, Command(find, tuple(stages), options, first_rows, batch_bytes, ahead, now))

    @property
    def way(self) -> str:
        """The way that the next read goes; looks at the collection first if nothing was read yet."""
        with self._lock:
            if not self._ways and not self._causes:
                self._begin()
            if not self._ways:
                raise self._cause()
            return self._ways[0]

    @property
    def existed(self) -> bool:
        """Whether the collection was there when it was first looked at."""
        return self._origin is not None and self._origin.kind != "missing"

    def give_up(self, way: str, cause: DatabaseError) -> None:
        """Go another way from now on."""
        with self._lock:
            self._causes[way] = cause
            if way in self._ways:
                self._ways.remove(way)
            if way == "stream":
                self._end_stream()

    def stream(self) -> Stream:
        """The change stream, begun when it is first asked for."""
        with self._lock:
            if self._stream is None:
                self._longest()
                self._stream = Stream(
                    self.connection,
                    self.database,
                    self.collection,
                    self.time,
                    read_preference=self.read_preference,
                    patience=self.patience,
                )
            return self._stream

    def changes(self) -> Changes:
        """What became of the rows since the cutoff, up to now."""
        self.catch_up()
        with self._lock:
            return self._stream.changes() if self._stream else Changes(0, 0, 0, 0, {}, None)

    def catch_up(self) -> None:
        """Follow the changes up to now, if that is possible: what was under way at the cutoff is then :meth:`kept`."""
        if self.way == "plain" or "stream" in self._causes or (self._origin and self._origin.kind == "view"):
            return
        try:
            self.stream().advance(present_time(self.connection, self.database, patience=self.patience))
        except LostError as error:
            self.give_up("stream", error)

    def kept(self) -> Kept | None:
        """The exclusions to keep with the plan, as far as they are known; None: nothing is. Asks no server."""
        with self._lock:
            return joined(self._known, self._found() if self._stream else None)

    def kept_ids(self) -> Ids:
        """The kept exclusions as a set."""
        kept = self.kept()
        return Ids(kept.ids if kept else ())

    def check_same(self) -> None:
        """Make sure that the collection is still the one that was first looked at.

        Raises:
            DatabaseError: It was dropped, or another one has its name now.
        """
        first = self._origin
        now = origin(self.connection, self.database, self.collection, patience=self.patience)
        if first is not None and first.uuid is not None and now.uuid != first.uuid:
            raise DatabaseError(
                f"reading {self.database}.{self.collection}: the collection was "
                f"{'dropped' if now.kind == 'missing' else 'dropped or replaced by another one'} after the cutoff",
                "Bind the feed again: the rows of the cutoff are gone.",
            )

    def check_others(self, stages: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what stages have read at another time than the cutoff, if they looked into what has changed since.

        Raises:
            FeedError: A collection has changed, or nobody can tell whether it has.
        """
        if not self.connection.server.transactions:  # it knows no cutoff: everything is as it is
            return
        self._others.check(stages, view=self._origin is not None and self._origin.kind == "view")

    def close(self) -> None:
        """Close the change streams; what they have found stays known."""
        with self._lock:
            self._end_stream()
        self._others.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        found = self._looked()
        if found.kind in ("view", "timeseries", "capped") or not self.connection.server.transactions:
            told = found.kind == "view" and self.connection.server.transactions
            self._ways = ["history", "plain"] if told else ["plain"]
            return
        self._ways = ["history", "stream", "stamp"]
        if self._known and self._known.settled:
            now = present_time(self.connection, self.database, patience=self.patience)
            if now.time - self.time.time > SOON:
                self._ways = ["history", "stamp", "stream"]

    def _looked(self) -> Origin:
        """What the collection is, by a look at it unless somebody has just had one."""
        if self._just_seen and self._origin is not None:
            self._just_seen = False
            return self._origin
        found = origin(self.connection, self.database, self.collection, patience=self.patience)
        if self._origin is None:
            self._origin = found
        else:
            self.check_same()
        return found

    def _cause(self) -> DatabaseError:
        return self._causes.get("stamp") or next(iter(self._causes.values()))

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._known = joined(self._known, self._found())
            self._stream.close()
            self._stream = None

    def _found(self) -> Kept:
        assert self._stream is not None  # noqa: S101 - asked for by whoever has seen it
        until = self._stream.position
        return Kept(until, until.time - self.time.time > self._longest(), tuple(self._stream.early))

    def _longest(self) -> int:
        """How long after its stamp a row may be committed, in s."""
        if self._lifetime is None:
            self._lifetime = _LIFETIME
            with suppress(driver.PyMongoError):  # not every user may ask
                answer = self.connection.client.admin.command("getParameter", transactionLifetimeLimitSeconds=1)
                self._lifetime = int(answer["transactionLifetimeLimitSeconds"])
        return self._lifetime + _MARGIN
