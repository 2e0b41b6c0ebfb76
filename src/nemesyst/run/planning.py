"""What is to be run: stages of scripts or of tables, the jobs that they stand for, and the best of their versions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError, NemesystError
from nemesyst.run.jobs import Job, JobReport
from nemesyst.stages import (
    Changes,
    JobContext,
    Learner,
    Outcome,
    arguments_of,
    combinations,
    entity_text,
    expand,
    expands,
    learner_model,
    narrowing_field,
    piece_feed,
    promote_best,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.hub import Hub
    from nemesyst.run.jobs import Kind, Watcher
    from nemesyst.stages import Script, Stage


@dataclass(frozen=True)
class Task:
    """A stage that is to be run.

    Attributes:
        job: Its job, which may stand for others.
        stage: As declared, with what a table says otherwise.
        where: The table; empty: it is as its script declares it.
    """

    job: Job
    stage: Stage
    where: str = ""

    def having(self, **changes: Any) -> Task:
        """The same, with some fields of its job changed."""
        return replace(self, job=replace(self.job, **changes))


def tasks_of(scripts: Sequence[Script]) -> list[Task]:
    """All stages of scripts, as they are declared."""
    return [
        Task(
            Job(script.path, stage.name, stage.kind, workers=stage.workers, gpus=stage.gpus)
            if isinstance(stage, Learner)
            else Job(script.path, stage.name, stage.kind),
            stage,
        )
        for script in scripts
        for stage in script.stages
    ]


def tasks_of_kinds(tasks: Sequence[Task], kinds: Sequence[Kind]) -> list[Task]:
    """The tasks of these kinds.

    Raises:
        ScriptError: There are none.
    """
    from nemesyst.run.rounds import of_kinds

    jobs = of_kinds([task.job for task in tasks], kinds)
    return [task for task in tasks if task.job in jobs]


def check_arguments_of(task: Task, settings: Mapping[str, Any]) -> None:
    """Find out before any work whether a task's function takes its arguments.

    Raises:
        SettingsError: A value has the wrong type, or a required one is missing.
    """
    stage, job = task.stage, task.job
    grid = stage.grid if isinstance(stage, Learner) else None
    under = settings.get(stage.name)
    own = {**(under if isinstance(under, dict) else {}), **job.args}
    for combination in combinations(grid):
        try:
            arguments_of(stage, {**settings, stage.name: {**own, **combination}})
        except NemesystError as error:
            where = f"{task.where}: " if task.where else ""
            raise type(error)(f"{where}{error.message}", error.remedy) from None


class Planner:
    """Knows which jobs the tasks stand for, and promotes the best of what they made.

    Args:
        hub: The hub.
        tasks: The tasks.
    """

    def __init__(self, hub: Hub, tasks: Sequence[Task]) -> None:
        self._hub = hub
        self._stages = {task.job: task.stage for task in tasks}
        self.jobs = len(tasks)
        """How many jobs there are, as far as is known: those that stand for others are counted as what they become."""

    def expand(self, job: Job, watcher: Watcher) -> Sequence[Job]:
        """See :class:`nemesyst.run.rounds.Expander`."""
        stage = self._stages.get(job)
        if stage is None or not expands(stage):
            return [job]
        found = expand(self._hub, stage, job.changes)
        if found.note:
            watcher.note(found.note)
        self.jobs += len(found.pieces) - 1
        field = _field(stage, job.changes)
        return [
            replace(
                job,
                label=f"{job.label} {piece.label}".strip(),
                entity=piece.entity,
                args={**job.args, **piece.args},
                changes=replace(job.changes, model=piece.model or job.changes.model, by=field),
            )
            for piece in found.pieces
        ]

    def conclude(self, job: Job, reports: Sequence[JobReport]) -> list[JobReport]:
        """See :class:`nemesyst.run.rounds.Expander`."""
        stage = self._stages.get(job)
        if not isinstance(stage, Learner) or stage.best is None:
            return []
        groups: dict[str | None, list[JobReport]] = {}
        for report in reports:
            entity = report.job.entity
            groups.setdefault(None if entity is None else entity_text(entity), []).append(report)
        made = [self._best(stage, job, entity, group) for entity, group in groups.items()]
        found = [report for report in made if report is not None]
        self.jobs += len(found)
        return found

    def _best(self, stage: Learner, job: Job, text: str | None, reports: Sequence[JobReport]) -> JobReport | None:
        versions = [
            version for report in reports if report.outcome for version in report.outcome.details.get("versions", ())
        ]
        if not versions or stage.best is None:
            return None  # all failed, and that was told
        like = reports[0].job
        label = " ".join(part for part in (job.label, "" if text is None else f"[{text}]", "best") if part)
        mine, begun = replace(like, label=label, args={}), time.monotonic()
        try:
            feed = piece_feed(stage, like.changes, like.entity)
            path = learner_model(stage, JobContext(entity=like.entity, changes=like.changes))
            summary, details = promote_best(self._hub, stage.best, path, feed, versions, stage.build)
        except NemesystError as error:
            return JobReport(mine, error=error, seconds=time.monotonic() - begun)
        except Exception as error:  # noqa: BLE001 - a model of the user's runs: anything may come out of it
            told = JobError(f"{stage.name}: comparing {job} failed: {type(error).__name__}: {error!s:.500}")
            return JobReport(mine, error=told, seconds=time.monotonic() - begun)
        seconds = time.monotonic() - begun
        return JobReport(mine, Outcome("learn", stage.name, summary, details, seconds), seconds=seconds)


def _field(stage: Stage, changes: Changes) -> str | None:
    """The field that tells an entity's rows, where the worker could not tell it by the declaration alone."""
    if not isinstance(stage, Learner) or stage.entities is None:
        return changes.by
    return narrowing_field(stage.entities, stage.feed)
