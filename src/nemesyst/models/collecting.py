"""Collecting what nothing refers to: blobs, plans of feeds, and checkpoints that nobody will resume."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from nemesyst.database import translated
from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.models.store import Store

HOUR = 3600.0

_LONGEST = 100 * 365 * 86400
"""Seconds of an age at most: the server's clock less this is still a date."""


@dataclass(frozen=True)
class Collected:
    """What was collected, or would be.

    Attributes:
        blobs: Whole blobs that nothing referred to.
        pending: Blobs whose saver died on the way.
        parts: Parts without a blob.
        size: Bytes of all of these.
        plans: What was collected of the plans of feeds, by kind.
        checkpoints: Checkpoints of runs that are done, or that nobody has resumed for long.
        dry_run: Whether nothing was changed.
    """

    blobs: int
    pending: int
    parts: int
    size: int
    plans: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False
    checkpoints: int = 0


def collect(store: Store, *, older_than: float | timedelta, plans: timedelta | None, dry_run: bool) -> Collected:
    """Collect plans, then blobs; see :meth:`nemesyst.Models.gc`."""
    from nemesyst.database import sweep  # here: both take a while to import
    from nemesyst.feed import collect as collect_plans

    age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age <= _LONGEST:
        raise SettingsError(f"older_than={older_than!r}", "Give 0 s to 100 years: a number of seconds, or a timedelta.")
    if plans is not None and not (isinstance(plans, timedelta) and 0 <= plans.total_seconds() <= _LONGEST):
        raise SettingsError(f"plans={plans!r}", "Give a timedelta of at most 100 years, or None.")
    checkpoints = _old_checkpoints(store, float(age), plans, dry_run=dry_run)
    gone: dict[str, int] = {}
    if plans is not None:
        found = collect_plans(
            store.connection, store.state, older_than=plans, in_use=lambda key: _in_use(store, key), dry_run=dry_run
        )
        gone = {"plans": found.plans, "sets": found.sets, "bytes": found.bytes}
    swept = sweep(store.connection, store.state, older_than=float(age), dry_run=dry_run)
    return Collected(swept.blobs, swept.pending, swept.parts, swept.size, gone, dry_run, checkpoints)


def _old_checkpoints(store: Store, age: float, resumable: timedelta | None, *, dry_run: bool) -> int:
    """Remove checkpoints of runs that are done, and of those that made none for so long; how many there were.

    Their blobs are then swept with the others.
    """
    database = store.connection.own_database(store.state)
    with translated("collect old checkpoints"):
        now = store.catalogue.now()
        newest = {"$group": {"_id": "$run", "created": {"$max": "$created"}}}
        found = database["checkpoints"].aggregate([newest])
        ages = {each["_id"]: (now - each["created"]).total_seconds() for each in found}
        done = database["runs"].find({"_id": {"$in": list(ages)}, "status": "done"}, {"_id": 1})
        old = {each["_id"] for each in done if ages[each["_id"]] > age}
        if resumable is not None:
            old |= {run for run, silent in ages.items() if silent > resumable.total_seconds()}
        wanted = {"run": {"$in": sorted(old, key=str)}}
        if dry_run or not old:
            return database["checkpoints"].count_documents(wanted) if old else 0
        return database["checkpoints"].delete_many(wanted).deleted_count


def _in_use(store: Store, key: str) -> bool:
    """Whether a version came from a plan, or a run can be resumed with it."""
    with translated("collect old plans"):
        places = store.catalogue.versions, store.connection.own_database(store.state)["checkpoints"]
        return any(place.find_one({"plan": key}, {"_id": 1}) is not None for place in places)
