"""Training one version of a fleet again, alone: the same rows, first weights, order and steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import Timestamp
from nemesyst.errors import ReplayError
from nemesyst.frameworks import adapter_named
from nemesyst.models import differences, environment
from nemesyst.stages.asked import context_of
from nemesyst.stages.context import Run
from nemesyst.stages.fleets.data import EntityRows, read_group
from nemesyst.stages.fleets.training import learn_group, task_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemesyst.frameworks import Learned
    from nemesyst.hub import Hub
    from nemesyst.stages.fleets.fleet import FleetStage
    from nemesyst.stages.fleets.training import Task
    from nemesyst.stages.seams import Progress
    from nemesyst.types import Version

TOLERANCE = 1e-3
"""How far weights may be apart, relative to the largest of their array: sums of a batched product are rounded in an
order that depends on how many models are in it, and training carries that on."""


@dataclass(frozen=True)
class Again:
    """What came of training a version again.

    Attributes:
        difference: The largest difference between two weights, relative to the largest of their array.
        differences: Where rows, code and environment differ, a line each.
        seconds: Time that the training took, in s.
    """

    difference: float
    differences: tuple[str, ...]
    seconds: float


def again(hub: Hub, version: Version, stage: FleetStage, path: Path, progress: Progress, *, anyway: bool) -> Again:
    """Train the entity of a version alone, after it was made sure that rows and code are the same.

    Raises:
        ReplayError: They are not; names what differs.
    """
    learner: Mapping[str, Any] = version.learner or {}
    context = context_of(learner, path, progress)
    task = task_of(Run(hub, args={**learner["args"], "again": True}, context=context), stage)
    rows = _rows(hub, task, version, context.entity)
    differing = [*_code(learner, task), *_data(version, rows)]
    if differing and not anyway:
        raise ReplayError(
            f"{version.ref} cannot be replayed: {'; '.join(differing)}",
            "Check out the code of its record. Or train anyway (anyway=True, --anyway), which compares all the same.",
        )
    begin = time.monotonic()
    learned = learn_group(task, [rows], context.group.device, progress.rows)[0]
    changed = differences(version.environment, environment(adapter_named(version.framework)))
    apart = _apart(hub, version, task, learned)
    return Again(apart, (*differing, *changed), time.monotonic() - begin)


def _rows(hub: Hub, task: Task, version: Version, value: Any) -> EntityRows:
    as_of = Timestamp(*(version.lineage or {})["as_of"])
    for _, found in read_group(hub, task.feed, task.field, [value], as_of=as_of):
        if isinstance(found, EntityRows):
            return found
        raise ReplayError(f"{version.ref} cannot be replayed: {found}", "Its rows are gone.")
    raise AssertionError(version.ref)


def _code(learner: Mapping[str, Any], task: Task) -> list[str]:
    then, now = learner.get("source"), task.code["source"]
    return (
        []
        if then == now
        else [f"the code of {task.name} has changed (source {str(then)[:12]} then, {str(now)[:12]} now)"]
    )


def _data(version: Version, rows: EntityRows) -> list[str]:
    then = version.lineage or {}
    if (fingerprint := rows.spec.fingerprint) != then["fingerprint"]:
        return [f"the feed has changed (fingerprint {str(then['fingerprint'])[:12]} then, {fingerprint[:12]} now)"]
    if rows.digest == then["digest"]:
        return []
    counts = [f"{part} {count:,} then, {rows.rows.get(part, 0):,} now" for part, count in then["rows"].items()]
    return [f"the rows of {rows.spec.collection} under its cutoff have changed ({'; '.join(counts)})"]


def _apart(hub: Hub, version: Version, task: Task, learned: Learned) -> float:
    adapter = adapter_named(version.framework)
    stored = adapter.weights(hub.models.load(version.ref, build=task.fleet.build))
    return max(
        float(np.abs(learned.state[name] - values).max(initial=0.0) / max(np.abs(values).max(initial=0.0), 1e-12))
        for name, values in stored
    )
