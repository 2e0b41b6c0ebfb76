"""``put``: encode rows, send them in batches while the next one is made, keep what cannot be stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import bson
from pymongo.errors import PyMongoError

from nemesyst.database.put.batch import Batch, Tally
from nemesyst.database.put.encoder import Encoder
from nemesyst.database.put.keys import check_collection, key_fields
from nemesyst.database.put.rejected import rejected
from nemesyst.database.put.rows import Refused, Row, rows
from nemesyst.database.put.schema import checker
from nemesyst.database.put.sender import Sender
from nemesyst.database.put.target import Target, prepare
from nemesyst.database.translate import translate, translated
from nemesyst.errors import RecordError, SettingsError
from nemesyst.types import PutReport

if TYPE_CHECKING:
    from nemesyst.database.connection import Connection

OnConflict = Literal["keep", "replace", "error"]
Progress = Callable[[int, int], None]
"""Called with the rows and the bytes that have been dealt with so far."""

PATIENCE = 30.0
"""How long a batch is sent again, in s: longer than an election takes."""
BATCH_ROWS = 20_000
BATCH_BYTES = 4 * 2**20
"""A batch is sent when it holds this much; two are on their way at most."""
LINGER = 1.0
"""A row of a slow source waits this long for others, in s, if another one comes."""
_REASONS = 20


def put(  # noqa: PLR0913 - options of the one way in
    connection: Connection,
    database: str,
    collection: str,
    records: Any,
    *,
    key: str | Sequence[str] | None = None,
    on_conflict: OnConflict = "keep",
    schema: Mapping[str, Any] | type | None = None,
    source: str | None = None,
    progress: Progress | None = None,
    batch_rows: int = BATCH_ROWS,
    patience: float = PATIENCE,
) -> PutReport:
    """Store records as rows; those that cannot be stored go to ``<collection>.rejected``, and the rest goes on.

    A row is acknowledged by a majority of the servers, journaled, and stamped by the server in ``_stamp``. Memory does
    not grow with the number of records. If ``records`` raises, what it gave before is stored, then the error goes on.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection; made if it is not there.
        records: Dicts, Arrow tables, pandas or polars frames: one, or any iterable of them, generators too.
        key: Top-level field, or fields, that make a row unique. The collection is clustered on them, and putting the
            same rows again changes nothing. An ``_id`` that a record brings gives way to the key.
        on_conflict: For a row whose key is there: ``"keep"`` it as it is (costs nothing), ``"replace"`` it (about a
            quarter of the speed: one update each), or stop with an ``"error"`` (rows are sent in order).
        schema: ``{field: Python type}`` or a pydantic model that records must fit.
        source: Where the records come from; noted beside the rejected ones.
        progress: Called after each batch with rows and bytes so far.
        batch_rows: Rows to send at a time, 1 to 100,000.
        patience: How long to go on while the database is away (a failover takes about 10), in s.

    Raises:
        SettingsError: A name, a key, a schema or an option does not fit; nothing is stored.
        ConflictError: ``on_conflict="error"``, and a key is there; what came before it is stored.
        RecordError: ``records`` is no source of rows.
        UnreachableError: The database was away for longer than ``patience``; says how many rows are stored.
    """
    if not 1 <= batch_rows <= 100_000:
        raise SettingsError(f"batch_rows: {batch_rows} was given", "It is 1 to 100,000.")
    fields, check = check_put(collection, key, on_conflict, schema, database=database)
    with translated(f"put into {collection}"):
        target = prepare(connection, database, collection, fields, on_conflict)
        room = connection.client.admin.command("hello")["maxBsonObjectSize"]
    encoder = Encoder(fields, check, room, stamped=not target.timeseries, replace=on_conflict == "replace")
    writer = Writer(target, on_conflict, encoder, batch_rows=batch_rows, progress=progress, patience=patience)
    try:
        with writer:
            for row in rows(records, source):
                writer.add(row)
    except RecordError as error:  # the source broke
        stored = f"the {writer.report().total:,} records before it have been dealt with"
        raise RecordError(f"{error.message}; {stored}", error.remedy) from error
    return writer.report()


def check_put(
    collection: str,
    key: str | Sequence[str] | None = None,
    on_conflict: str = "keep",
    schema: Mapping[str, Any] | type | None = None,
    *,
    database: str = "",
) -> tuple[tuple[str, ...], Callable[[Any], None] | None]:
    """Check the arguments of a :func:`put` that is to come; gives the key's fields and the schema's check.

    Raises:
        SettingsError: One of them does not fit.
    """
    if on_conflict not in get_args(OnConflict):
        raise SettingsError(f"on_conflict: {on_conflict!r} was given", 'It is "keep", "replace" or "error".')
    check_collection(collection, database)
    return key_fields(key), checker(schema)


class Writer:
    """Encodes rows into batches, and sends them from a thread of its own; a context manager."""

    def __init__(
        self,
        target: Target,
        on_conflict: OnConflict,
        encoder: Encoder,
        *,
        batch_rows: int,
        progress: Progress | None,
        patience: float,
    ) -> None:
        self._target, self._encoder, self._batch_rows, self._progress = target, encoder, batch_rows, progress
        self._tally, self._stopping = Tally(), Event()
        self._sender = Sender(target, on_conflict, self._tally, self._stopping, patience)
        aside = Target(target.database, f"{target.name}.rejected")
        self._aside = Sender(aside, "keep", Tally(), self._stopping, patience)
        self._reasons: Counter[str] = Counter()
        self._batch, self._rejected = Batch(), Batch()
        self._thread: ThreadPoolExecutor | None = None
        self._sending: Future[None] | None = None
        self._started = time.monotonic()
        self._first = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Send what is left, also when the source failed; when we were interrupted or cannot send, only tidy up."""
        try:
            if (kind is None or issubclass(kind, Exception)) and not self._stopping.is_set():
                self._flush(last=True)
        finally:
            self._stopping.set()
            if self._thread:
                self._thread.shutdown(wait=True, cancel_futures=True)

    def add(self, row: Row) -> None:
        """Take a row; sends a batch when one is full."""
        record, position, source = row
        place = (position, source)
        try:
            self._batch.add(self._encoder.row(record), place)
        except RecordError as error:
            self._reject(record, error.message, place)
        now = time.monotonic()
        first = len(self._batch.documents) + len(self._rejected.documents) == 1
        if first:
            self._first = now
        full = len(self._batch.documents) >= self._batch_rows or self._batch.size + self._rejected.size >= BATCH_BYTES
        if full or now - self._first > LINGER:
            self._flush()

    def _reject(self, record: Any, reason: str, place: tuple[int, str | None]) -> None:
        if isinstance(record, Refused):
            record = record.shown
        self._count_reason(reason)
        self._rejected.add(rejected(record, reason, place, self._encoder.room), place)

    def _count_reason(self, reason: str) -> None:
        self._reasons[reason if reason in self._reasons or len(self._reasons) < _REASONS - 1 else "other reasons"] += 1

    def _flush(self, *, last: bool = False) -> None:
        """Hand the batch to the thread, when the one before has been sent; the last one is waited for."""
        batch, aside = self._batch, self._rejected
        self._batch, self._rejected = Batch(), Batch()
        self._wait()
        if last and self._thread is None:
            self._guarded(batch, aside)  # a small put needs no thread
            return
        self._thread = self._thread or ThreadPoolExecutor(1, "nemesyst-put")
        self._sending = self._thread.submit(self._guarded, batch, aside)
        if last:
            self._wait()

    def _wait(self) -> None:
        if self._sending:
            self._sending.result()
            self._sending = None
        if self._progress and self._tally.rows:
            self._progress(self._tally.rows, self._tally.size)

    def _guarded(self, batch: Batch, aside: Batch) -> None:
        try:
            self._send(batch, aside)
        except PyMongoError as error:
            self._stopping.set()
            raise translate(error, f"put into {self._target.name} ({self._tally.stored} rows are stored)") from error
        except BaseException:
            self._stopping.set()
            raise

    def _send(self, batch: Batch, aside: Batch) -> None:
        try:
            refused = self._sender.send(batch) if batch.documents else []
            for index, reason in refused:
                self._count_reason(reason)
                place = batch.places[index]
                aside.add(
                    rejected(self._encoder.record(batch.documents[index]), reason, place, self._encoder.room), place
                )
        finally:
            self._keep_aside(aside)

    def _keep_aside(self, aside: Batch) -> None:
        """Store rejected records; one that even there is refused is stored without its content."""
        refused = self._aside.send(aside) if aside.documents else []
        if refused:
            bare = Batch()
            for index, _ in refused:
                reason = bson.decode(aside.documents[index])["reason"]
                bare.add(rejected(None, reason, aside.places[index], self._encoder.room), aside.places[index])
            self._aside.send(bare)
        self._tally.rejected += len(aside.documents)

    def report(self) -> PutReport:
        """What became of the rows."""
        tally = self._tally
        return PutReport(
            collection=self._target.name,
            stored=tally.stored,
            unchanged=tally.unchanged,
            replaced=tally.replaced,
            rejected=tally.rejected,
            seconds=time.monotonic() - self._started,
            reasons=dict(self._reasons),
        )
