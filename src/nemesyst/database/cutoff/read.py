"""One read under a cutoff, which goes on by itself when a member of the replica set goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from xxhash import xxh3_64_intdigest

from nemesyst.database.cutoff.ids import Ids
from nemesyst.database.cutoff.patience import TOO_OLD, Patience, code_of, passes
from nemesyst.database.cutoff.stamps import NO_STAMP, SIGN, find_stamped, no_stamp, stages_stamped
from nemesyst.database.cutoff.stream import LostError
from nemesyst.database.cutoff.times import number, present_time
from nemesyst.database.raw.reader import RawReader
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from bson.timestamp import Timestamp

    from nemesyst.database.cutoff.cutoff import Cutoff
    from nemesyst.database.cutoff.exclusions import Excluded
    from nemesyst.database.cutoff.stream import Stream

_ALL_ROWS = 1_000_000
_ENDS = 1024  # bytes of either end of a batch that it is known again by


class Reread(DatabaseError):  # noqa: N818 - it asks for something, and no user sees it
    """What was given so far must be read again from the start, at another time: private to whoever reads chunks.

    The server no longer has the snapshot that was half read. The next :meth:`Cutoff.read` of the same rows is right.
    """


class Command(NamedTuple):
    """What is read: the arguments of a ``RawReader``."""

    find: Mapping[str, Any] | None
    stages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] | None
    first_rows: int
    batch_bytes: int | None
    ahead: int
    now: bool = False


class CutoffRead:
    """Undecoded batches of documents, as a ``RawReader`` gives them; made by :meth:`Cutoff.read`.

    A context manager; it can be read once. When it is exhausted, :attr:`excluded` says which rows to drop.

    While it is read, it raises :class:`Reread` when the rows must be read again from the start, ``UnreachableError``
    when no member has answered for the cutoff's patience, ``DatabaseError`` when the rows of the cutoff are gone.

    Attributes:
        time: Cluster time that the rows are of; None until the first batch, and for plain reads.
        retries: How often it was begun again.
        way: The way that it goes; see :class:`Cutoff`.
    """

    def __init__(self, cutoff: Cutoff, command: Command) -> None:
        self._cutoff = cutoff
        self._command = command
        self._doing = f"reading {cutoff.database}.{cutoff.collection}"
        self._waiting = Patience(self._doing, cutoff.patience)
        self._given: list[tuple[int, int, int]] = []
        self._target = command.batch_bytes
        self._reader: RawReader | None = None
        self._snapshot: Excluded | None = None
        self._stream: Stream | None = None
        self._at: Timestamp | None = None
        self._floor: Timestamp | None = None
        self._excluded: Excluded | Ids | None = None
        self._used = False
        self.time: Timestamp | None = None
        self.retries = 0
        self.way = ""

    @property
    def excluded(self) -> Excluded | Ids:
        """The ``_id``s of rows to drop; known when all batches were read."""
        if self._excluded is None:
            raise RuntimeError("what is excluded is known when all batches have been read")
        return self._excluded

    def __iter__(self) -> Iterator[memoryview]:
        if self._used:
            raise RuntimeError("a CutoffRead is read once; make another one")
        self._used = True
        try:
            while True:
                if not self._given:
                    self._choose()
                try:
                    yield from self._attempt()
                    break
                except DatabaseError as error:
                    self._again(error)
            self._finish()
        finally:
            self.close()

    def close(self) -> None:
        """Close the cursor on the server; any number of times."""
        self._used = True
        self._end_reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(self) -> None:
        """Go the way that is possible now; nothing was given yet."""
        while True:
            self.way, self.time = "plain" if self._command.now else self._cutoff.way, None
            self._at = self._cutoff.time if self.way == "history" else self._floor
            if self.way != "stream":
                return
            self._stream = self._cutoff.stream()
            try:
                self._stream.begin()
            except LostError as error:
                self._cutoff.give_up("stream", error)
                continue
            # before the snapshot is opened, so that nothing is forgotten that it shows
            self._snapshot = self._stream.exclusions.snapshot()
            return

    def _attempt(self) -> Iterator[memoryview]:
        """Batches of one cursor, without those that earlier ones gave."""
        again = len(self._given)
        count = 0
        reader = self._reader = self._opened()
        for count, batch in enumerate(reader, 1):
            self._dated(reader)
            mark = _mark(batch)
            if count > again:
                self._given.append(mark)
                self._waiting.succeeded()
                if self._cutoff.limit is not None:
                    self._cutoff.limit.wait(len(batch))
                yield batch
            elif mark != self._given[count - 1]:
                raise self._reread("they came in another order when they were read again")
        if count < again:
            raise self._reread("there were fewer when they were read again")
        self._dated(reader)

    def _opened(self) -> RawReader:
        """A reader of what is asked for, at the time that it is to be read at."""
        cutoff, command = self._cutoff, self._command
        find: Mapping[str, Any] | None = command.find
        stages = command.stages
        if self.way == "stamp":
            stages = stages_stamped(stages, cutoff.time) if stages else ()
            find = None if stages else find_stamped(find or {}, cutoff.time)
        concern = {} if self._at is None else {"atClusterTime": self._at}
        return RawReader(
            cutoff.connection,
            cutoff.database,
            cutoff.collection,
            stages=stages,
            find=find,
            options=command.options,
            batch_bytes=self._target,
            first_rows=_ALL_ROWS if cutoff.one_reply else command.first_rows,
            ahead=command.ahead,
            read_concern=None if self.way == "plain" else {"level": "snapshot", **concern},
            read_preference=cutoff.read_preference,
        )

    def _dated(self, reader: RawReader) -> None:
        """Note the time of the snapshot, once it is known, and the size of batches: a second cursor gives the same."""
        if self._target is None:
            self._target = reader._reading.cursor._target  # noqa: SLF001 - of this room
        if self.time is not None or self.way == "plain":
            return
        if reader.time is None and self._at is None and self._cutoff.existed:
            raise _BehindError(self._doing)  # it has not heard of the collection yet
        time = reader.time or self._cutoff.time  # there is no such collection: no rows at any time
        least = number(self._cutoff.time) if self._snapshot is None else self._snapshot.least
        if number(time) < least:
            raise _BehindError(self._doing)
        self.time = self._at = time
        if self._snapshot is not None:
            self._snapshot.time = number(time)

    def _again(self, error: DatabaseError) -> None:
        """Make ready to begin again after an error, or raise what the caller has to know."""
        self._end_reader()
        code = code_of(error)
        if isinstance(error, _BehindError):  # a member that lags: let it get as far as the others
            self._floor = present_time(self._cutoff.connection, self._cutoff.database, patience=self._cutoff.patience)
        elif code in TOO_OLD:
            self._too_old(error)
        elif code == NO_STAMP and self.way == "stamp" and SIGN in error.message:
            cutoff = self._cutoff
            cause = no_stamp(cutoff.connection, cutoff.database, cutoff.collection, cutoff.time)
            self._cutoff.give_up("stamp", cause)
            if self._given:
                raise self._reread("some have no stamp") from error
        elif not passes(error):
            raise error
        elif self._given and self.way == "plain":
            raise self._reread("the cursor broke off") from error
        else:
            self.retries += 1
            self._waiting.wait(error)

    def _too_old(self, error: DatabaseError) -> None:
        if self.way == "history":
            self._cutoff.give_up("history", error)
        if self._given:
            self._cutoff.one_reply = self.way != "history"  # such a server keeps no history: all in one reply
            raise self._reread("the server no longer has the time at which they were read") from error
        if self.way != "history":
            self._floor = None
            self.retries += 1
            self._waiting.wait(error)

    def _reread(self, why: str) -> Reread:
        return Reread(f"{self._doing}: what was read so far must be read again: {why}", "Read the same rows again.")

    def _finish(self) -> None:
        """Find out what to drop of that which was read."""
        if self.retries or not self._given:
            self._cutoff.check_same()
        if self.way == "stream" and self._stream is not None and self.time is not None:
            try:
                self._stream.advance(self.time)
            except LostError as error:
                self._cutoff.give_up("stream", error)
                raise self._reread("the server's oplog no longer has the changes since the cutoff") from error
            self._excluded = self._snapshot
        else:
            self._excluded = self._cutoff.kept_ids() if self.way == "stamp" else Ids()

    def _end_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class _BehindError(DatabaseError):
    """The member that was read from has not got to the time that is needed."""


def _mark(batch: memoryview) -> tuple[int, int, int]:
    """What a batch is known again by."""
    return len(batch), xxh3_64_intdigest(batch[:_ENDS]), xxh3_64_intdigest(batch[-_ENDS:])
