"""What is recorded of a run, as records."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nemesyst.database import to_extended
from nemesyst.run.records.processes import Process

STATUSES = ("running", "done", "failed", "stopped", "lost")
SILENCE = 30.0
"""A run on another node whose last heartbeat is so many s old is lost."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MOST_TEXT = 4000
_MOST_ITEMS = 200
"""Arguments and values of a record are cut there: no document grows without bound."""


@dataclass(frozen=True)
class Work:
    """What a run does; two runs of the same work are attempts at the same thing.

    Attributes:
        script: The file, absolute.
        function: The function.
        stage: ``wrangle``, ``learn`` or ``infer``.
        model: Name of the model, or reference of the one that predicts; None: there is none.
        entity: The device or site that it is for; None: all.
        args: The arguments of the function.
        label: What tells its job from others of the function.
        workers: Processes that train together.
    """

    script: str
    function: str
    stage: str
    model: str | None = None
    entity: Any = None
    args: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    workers: int = 1

    @property
    def key(self) -> str:
        """The same for the same script, function, model, entity and arguments."""
        parts = [self.script, self.function, self.model, _extended(self.entity), _extended(dict(self.args))]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def document(self) -> dict[str, Any]:
        """Its fields of a run's record."""
        return {
            "key": self.key,
            "script": self.script,
            "file": Path(self.script).name,
            "function": self.function,
            "stage": self.stage,
            "model": self.model,
            "entity": self.entity,
            "entity_text": None if self.entity is None else str(self.entity),
            "args": plain(self.args),
            "label": self.label,
            "workers": self.workers,
        }


@dataclass(frozen=True)
class RunRecord:
    """A run as it is recorded.

    Attributes:
        id: Its id.
        status: ``running``, ``done``, ``failed``, ``stopped``, or ``lost``: its process is gone and did not say how.
        work: What it does.
        attempts: How often it was begun: resumed and retried runs keep their id.
        process: The process of the last attempt (of rank 0).
        started: When the first attempt began (UTC, the server's clock).
        heartbeat: When it was last heard of (UTC, the server's clock).
        silent: s since then, at the time of reading.
        ended: When it ended (UTC); None: it has not, as far as is known.
        seconds: Time that the last attempt took, in s.
        memory: Largest resident memory of its process, in bytes.
        rows: Rows that it has passed.
        step: The last step that was logged.
        epoch: The epoch that it was in, from 1, and of how many.
        values: The newest value of each metric.
        versions: References of the versions that it made.
        summary: What it did, in a line.
        error: What ended it: ``kind``, ``message``, ``remedy`` and ``where`` (the script's line).
        command: Id that the jobs of one command share.
        executor: Where it ran: ``local``, ``ray``.
    """

    id: str
    status: str
    work: Work
    attempts: int
    process: Process
    started: datetime | None
    heartbeat: datetime | None
    silent: float
    ended: datetime | None = None
    seconds: float | None = None
    memory: int | None = None
    rows: int = 0
    step: int | None = None
    epoch: tuple[int, int] | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    versions: Sequence[str] = ()
    summary: str = ""
    error: Mapping[str, Any] | None = None
    command: str = ""
    executor: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more comes of this attempt."""
        return self.status != "running"

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values; times in ISO form, numbers that are none as None."""
        found = asdict(self)
        work = found.pop("work")
        process = found.pop("process")
        kept = {**work, "entity": plain(self.work.entity), "args": plain(self.work.args)}
        times = {name: None if found[name] is None else found[name].isoformat() for name in _TIMES}
        values = {name: value if abs(value) < float("inf") else None for name, value in self.values.items()}
        versions = list(self.versions)
        return {**found, **kept, **times, "node": process["node"], "pid": process["pid"], "values": values,
                "versions": versions}  # fmt: skip


_TIMES = ("started", "heartbeat", "ended")


def record_of(document: Mapping[str, Any]) -> RunRecord:
    """The record that a document holds; ``silent`` in it is the age of its heartbeat in ms."""
    get = document.get
    process = Process(str(get("node") or ""), int(get("pid") or 0), get("boot") or "", get("space") or "", get("began"))
    work = Work(
        str(get("script") or ""),
        str(get("function") or ""),
        str(get("stage") or ""),
        get("model"),
        get("entity"),
        get("args") or {},
        get("label") or "",
        get("workers") or 1,
    )
    silent = float(get("silent") or 0.0) / 1000
    epoch = get("epoch")
    return RunRecord(
        str(document["_id"]),
        _status(str(get("status") or "running"), process, silent),
        work,
        int(get("attempts") or 1),
        process,
        _utc(get("started")),
        _utc(get("heartbeat")),
        silent,
        ended=_utc(get("ended")),
        seconds=get("seconds"),
        memory=get("memory"),
        rows=int(get("rows") or 0),
        step=get("step"),
        epoch=None if epoch is None else (epoch[0], epoch[1]),
        values=dict(get("values") or ()),
        versions=tuple(get("versions") or ()),
        summary=get("summary") or "",
        error=get("error"),
        command=get("command") or "",
        executor=get("executor") or "",
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _status(stored: str, process: Process, silent: float) -> str:
    if stored != "running":
        return stored
    gone = process.gone
    return "lost" if gone or (gone is None and silent > SILENCE) else stored


def new_id() -> str:
    """An id: ``r``, then the time and a little chance, so that ids sort as the runs began.

    >>> len(new_id()), new_id()[0]
    (15, 'r')
    """
    number = (time.time_ns() // 1_000_000) << 25 | secrets.randbits(25)
    return "r" + "".join(_ALPHABET[number >> shift & 31] for shift in range(65, -1, -5))


def plain(value: Any) -> Any:
    """Any value as one that JSON and the database hold, cut where it is long."""
    if isinstance(value, Mapping):
        return {str(name)[:_MOST_TEXT]: plain(each) for name, each in list(value.items())[:_MOST_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in list(value)[:_MOST_ITEMS]]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    text = str(value)
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "..."


def _extended(value: Any) -> Any:
    try:
        return to_extended(value)
    except (TypeError, ValueError, OverflowError):  # the user's own class
        return repr(value)
