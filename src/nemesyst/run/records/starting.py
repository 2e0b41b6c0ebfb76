"""A run's own process writes its record: it begins or adopts one, and gives signs of life."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.database import within
from nemesyst.run.records.processes import Process
from nemesyst.run.records.record import Work, new_id, record_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

    State = Database[dict[str, Any]]

_PATIENCE = 30.0
"""s; an election is over by then."""
_LOOKED_AT = 20
_BY = ("status", "function", "model", "entity_text", "file", "command", "key")
"""What runs are looked for by, the newest first."""
WITH_SILENCE = {"$set": {"silent": {"$subtract": ["$$NOW", "$heartbeat"]}}}
"""A stage that tells how long a run has been silent, in ms."""


@dataclass(frozen=True)
class Begun:
    """An attempt that has begun.

    Attributes:
        id: Id of the run.
        attempt: Its number, from 1; what an older attempt still writes does not count.
    """

    id: str
    attempt: int = 1


def prepare(state: State) -> None:
    """Make the indexes that :meth:`Runs.list` uses."""
    keys = [{"started": -1, "_id": -1}, *({name: 1, "started": -1, "_id": -1} for name in _BY)]
    indexes = [{"key": key, "name": "_".join(key)} for key in keys]
    state.command("createIndexes", "runs", indexes=indexes)


def begin(state: State, work: Work) -> Begun:
    """Write the record of a new run.

    Raises:
        DatabaseError: It cannot be written.
    """
    with within(_PATIENCE, f"record the run of {work.function}"):
        prepare(state)
        now = {"$currentDate": {"started": True, "begun": True, "heartbeat": True}}
        while True:
            begun = Begun(new_id())
            fields = {**work.document(), **_of_process(), "status": "running", "attempts": begun.attempt}
            made = state["runs"].update_one({"_id": begun.id}, {"$setOnInsert": fields, **now}, upsert=True)
            if made.upserted_id is not None:
                return begun


def adopt(state: State, work: Work) -> Begun | None:
    """Go on with the newest unfinished run of the same work that nobody is at; None: there is none."""
    with within(_PATIENCE, f"look for an unfinished run of {work.function}"):
        newest: list[dict[str, Any]] = [
            {"$match": {"key": work.key, "status": {"$ne": "done"}}},
            {"$sort": {"started": -1, "_id": -1}},
            {"$limit": _LOOKED_AT},
            WITH_SILENCE,
        ]
        for found in state["runs"].aggregate(newest):
            if record_of(found).status != "running" and (begun := _take(state, found)) is not None:
                return begun
    return None


def proceed(state: State, work: Work, run: str) -> Begun | None:
    """Go on with the run that an earlier attempt of the same job has begun; None: it is done, or its record is gone.

    That attempt is over, whatever its record says: nobody else can tell so soon of a process that was killed.
    """
    with within(_PATIENCE, f"go on with run {run} of {work.function}"):
        while (found := state["runs"].find_one({"_id": run, "status": {"$ne": "done"}})) is not None:
            if (begun := _take(state, found)) is not None:  # else its last words came between
                return begun
    return None


def _take(state: State, found: Mapping[str, Any]) -> Begun | None:
    """Make a run this process's own, unless another was quicker."""
    seen = {name: found.get(name) for name in ("_id", "status", "attempts")}
    change = {
        "$set": {**_of_process(), "status": "running", "attempts": found["attempts"] + 1},
        "$currentDate": {"begun": True, "heartbeat": True},
        "$unset": dict.fromkeys(("ended", "error", "stop", "seconds", "summary"), ""),
    }
    done = state["runs"].update_one(seen, change)
    return Begun(found["_id"], found["attempts"] + 1) if done.matched_count else None


def beat(state: State, begun: Begun, values: Mapping[str, Any], patience: float) -> bool:
    """Give a sign of life.

    Args:
        state: The state database.
        begun: The attempt.
        values: What is known of it now.
        patience: How long it may take, in s.

    Returns:
        Whether to go on: False when it was asked to stop, or when another process has taken the run over.
    """
    with within(patience, f"record run {begun.id}"):
        change = {"$set": dict(values), "$currentDate": {"heartbeat": True}}
        runs, wanted = state["runs"], {"_id": begun.id, "attempts": begun.attempt}
        found = runs.find_one_and_update(wanted, change, {"stop": 1})
        if found is None:
            other = runs.find_one({"_id": begun.id}, {"attempts": 1})
            return other is None  # its record was removed: no reason to end
        return "stop" not in found


def _of_process() -> dict[str, Any]:
    return asdict(Process.here())
