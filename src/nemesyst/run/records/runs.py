"""Looking at runs, and stopping them, from any node: ``hub.runs``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import within
from nemesyst.errors import SettingsError, nearest
from nemesyst.run.records.following import Told, follow, text_of
from nemesyst.run.records.points import Series, points_of
from nemesyst.run.records.record import STATUSES, RunRecord, record_of
from nemesyst.run.records.starting import WITH_SILENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemesyst.hub import Hub

__all__ = ["Runs", "Told"]

_PATIENCE = 30.0
_FEW = 5


@dataclass(frozen=True)
class Runs:
    """The runs that a hub's state database has records of.

    >>> import nemesyst as nm
    >>> nm.connect().runs.list(status="failed", limit=5)  # doctest: +SKIP
    """

    hub: Hub

    def list(
        self,
        *,
        status: str | None = None,
        function: str | None = None,
        model: str | None = None,
        entity: Any = None,
        script: str | Path | None = None,
        since: datetime | timedelta | None = None,
        limit: int | None = 100,
    ) -> list[RunRecord]:
        """Runs, the newest first.

        Args:
            status: ``running``, ``done``, ``failed``, ``stopped`` or ``lost``; None: all.
            function: Only those of this function.
            model: Only those of this model.
            entity: Only those for this device or site.
            script: Only those of this file: its name, or its path.
            since: Only those that began then or later (UTC if naive), or so long ago at most.
            limit: At most so many; None: all.

        Raises:
            SettingsError: There is no such status, or the limit is no number of runs.
            DatabaseError: They cannot be read.
        """
        _check(status, limit)
        wanted: dict[str, Any] = {"function": function, "model": model}
        wanted["entity_text"] = None if entity is None else str(entity)
        wanted["status"] = "running" if status == "lost" else status
        if script is not None:
            wanted["file"] = Path(script).name
            wanted["script"] = None if Path(script).name == str(script) else str(Path(script).resolve())
        query = {name: value for name, value in wanted.items() if value is not None}
        if since is not None:
            query["started"] = {"$gte": _moment(since)}
        found: list[RunRecord] = []
        with within(_PATIENCE, "list the runs"):
            for record in self._find(query):
                if status is None or record.status == status:
                    found.append(record)
                    if limit is not None and len(found) == limit:
                        break
        return found

    def get(self, run: str) -> RunRecord:
        """A run by its id, or by the beginning of it if no other begins so.

        Raises:
            SettingsError: There is none, or there are several.
            DatabaseError: It cannot be read.
        """
        text = str(run)
        with within(_PATIENCE, f"read run {text}"):
            found = next(self._find({"_id": text}), None)
            if found is not None:
                return found
            like = self.hub.state["runs"].find({"_id": {"$gte": text, "$lt": text + "\U0010ffff"}}, {"_id": 1})
            ids = [str(each["_id"]) for each in like.limit(_FEW)] if text else []
            if len(ids) == 1 and (found := next(self._find({"_id": ids[0]}), None)) is not None:
                return found
        if ids:
            raise SettingsError(f"run {text}: several begin so: {', '.join(ids)}", "Give more of its id.")
        raise SettingsError(f"there is no run {text!r}", self._which(text))

    def output(self, run: str) -> Iterator[str]:
        """What a run printed, in pieces of whole lines, each line with its end; the first 10 MB and the last 1 MB."""
        found = self.get(run)
        return text_of(self.hub.state, found.id)

    def curves(self, run: str) -> dict[str, Series]:
        """What a run logged, by metric: every point, without those that were logged again after it was resumed."""
        parts: dict[str, list[Series]] = {}
        for name, series in self.points(run):
            parts.setdefault(name, []).append(series)
        return {
            name: Series(*(np.concatenate([getattr(each, of) for each in some]) for of in ("steps", "times", "values")))
            for name, some in parts.items()
        }

    def points(self, run: str) -> Iterator[tuple[str, Series]]:
        """What a run logged, some points of a metric at a time, in order: for runs whose curves are long."""
        found = self.get(run)
        return points_of(self.hub.state, found.id, found.attempts)

    def tail(self, run: str, *, lines: int | None = None, wait: Callable[[], Any] | None = None) -> Iterator[Told]:
        """Follow a run: what it prints and logs, until it ends.

        Args:
            run: Its id.
            lines: Begin with the last so many lines; None: with all that are kept.
            wait: Called before each look after the first; None: waits half a second.
        """
        return follow(self.hub.state, lambda: self.get(run), lines, wait)

    def stop(self, run: str) -> RunRecord:
        """Ask a run to end, as Ctrl-C does: at once if it runs on this node, else when it next gives a sign of life.

        Returns:
            Its record as it was before. One that is over stays as it is.
        """
        found = self.get(run)
        if not found.over:
            with within(_PATIENCE, f"stop run {found.id}"):
                asked = {"_id": found.id, "attempts": found.attempts, "status": "running"}
                self.hub.state["runs"].update_one(asked, {"$currentDate": {"stop": True}})
            found.process.interrupt()
        return found

    def _find(self, query: dict[str, Any]) -> Iterator[RunRecord]:
        newest = {"$sort": {"started": -1, "_id": -1}}
        return map(record_of, self.hub.state["runs"].aggregate([{"$match": query}, newest, WITH_SILENCE]))

    def _which(self, given: str) -> str:
        ids = [record.id for record in self.list(limit=_FEW)]
        return f"{nearest(given, ids).capitalize()}; nemesyst runs list shows all." if ids else "There are none yet."


def _check(status: str | None, limit: int | None) -> None:
    if status is not None and status not in STATUSES:
        raise SettingsError(f"status={status!r}", f"{nearest(str(status), list(STATUSES))}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise SettingsError(f"limit={limit!r}", "Give a whole number, 1 or more; None: all.")


def _moment(since: datetime | timedelta) -> datetime:
    if isinstance(since, timedelta):
        return datetime.now(UTC) - since
    if not isinstance(since, datetime):
        raise SettingsError(f"since={since!r}", "Give a datetime, or a timedelta: so long ago at most.")
    return since if since.tzinfo is not None else since.replace(tzinfo=UTC)
