"""Whether the other collections that a pipeline looks into are as they were at the cutoff."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from nemesyst.database.cutoff.beneath import looked_up, stored_beneath
from nemesyst.database.cutoff.read import CutoffRead
from nemesyst.database.cutoff.stream import LostError
from nemesyst.database.cutoff.times import present_time
from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nemesyst.database.connection import Connection
    from nemesyst.database.cutoff.stream import Stream

_REMEDY = (
    "Keep the rows early (feed.pin()), move on (feed.refresh()), or let the server keep more history "
    "(minSnapshotHistoryWindowInSeconds, 5 minutes by default)."
)


class Others:
    """The collections that reads of one collection look into; safe for several threads.

    The server reads them at the cutoff too, while it can. Later nothing can be left out of them: a document that came
    since may be anywhere in a row.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection that is read.
        follow: Makes the change stream of another collection from the cutoff on, out of connection, database and name.
    """

    def __init__(self, connection: Connection, database: str, collection: str, follow: Callable[..., Stream]) -> None:
        self._place = (connection, database)
        self._collection = collection
        self._follow = follow
        self._followed: dict[str, Stream] = {}
        self._lock = threading.Lock()

    def check(self, stages: Sequence[Mapping[str, Any]], *, view: bool) -> None:
        """Refuse what stages have read now, unless it is what they would have read at the cutoff.

        Args:
            stages: They were read at another time than the cutoff.
            view: Whether the collection is a view: then the collections that it is over must be as they were.

        Raises:
            FeedError: A collection has changed, or nobody can tell whether it has.
        """
        names = looked_up(_without_unions(stages, self._collection)) | ({self._collection} if view else set())
        if not names:
            return
        stored = stored_beneath(*self._place, names)
        if stored.series:
            raise self._error(min(stored.series), "may have changed (a time-series collection does not tell)")
        now = present_time(*self._place)
        for name in sorted(stored.names):
            stream = self._of(name)
            try:
                stream.advance(now)
            except LostError:
                raise self._error(name, "may have changed (the server's oplog begins later)") from None
            changes = stream.changes()
            if changes.inserted or changes.updated or changes.replaced or changes.deleted:
                raise self._error(name, "has changed")

    def close(self) -> None:
        """Close what follows them."""
        with self._lock:
            followed, self._followed = list(self._followed.values()), {}
        for each in followed:
            each.close()

    def _of(self, name: str) -> Stream:
        with self._lock:
            if name not in self._followed:
                self._followed[name] = self._follow(*self._place, name)
            return self._followed[name]

    def _error(self, name: str, what: str) -> FeedError:
        return FeedError(
            f"feed of {self._collection}: {name}, which is read with it, {what} since the cutoff, and the server "
            "no longer has it as it was",
            _REMEDY,
        )


class CheckedRead(CutoffRead):
    """A read that ends with a look at the other collections that it has read."""

    def _finish(self) -> None:
        super()._finish()
        if self.way != "history" and self._command.stages:
            self._cutoff.check_others(self._command.stages)


def _without_unions(stages: Iterable[Mapping[str, Any]], collection: str) -> list[Mapping[str, Any]]:
    """The stages, those of unions with the collection itself in the place of each union: its rows tell themselves."""
    found: list[Mapping[str, Any]] = []
    for stage in stages:
        union = stage.get("$unionWith")
        if union == collection:
            continue
        if isinstance(union, dict) and union.get("coll") == collection:
            found += _without_unions(union.get("pipeline", ()), collection)
        else:
            found.append(stage)
    return found
