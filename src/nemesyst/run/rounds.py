"""Rounds: all jobs of a stage side by side, then the next stage."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Protocol

from nemesyst.errors import NemesystError, ScriptError
from nemesyst.run.jobs import Executor, Job, JobReport, Kind, Watcher
from nemesyst.run.round import Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.stages import Script

ORDER: tuple[Kind, ...] = ("wrangle", "learn", "infer")


class Expander(Protocol):
    """Who knows which jobs a job stands for, and what follows when they are done."""

    def expand(self, job: Job, watcher: Watcher) -> Sequence[Job]:
        """The jobs that a job stands for, when its round starts.

        Raises:
            NemesystError: There are none.
        """

    def conclude(self, job: Job, reports: Sequence[JobReport]) -> list[JobReport]:
        """What is left to do when all jobs that a job stands for are over, done: reports of it."""


class AsTheyAre:
    """Jobs that stand for themselves."""

    def expand(self, job: Job, watcher: Watcher) -> Sequence[Job]:  # noqa: ARG002 - the protocol's signature
        """The job."""
        return [job]

    def conclude(self, job: Job, reports: Sequence[JobReport]) -> list[JobReport]:  # noqa: ARG002 - the protocol's signature
        """Nothing."""
        return []


def jobs_of(scripts: Sequence[Script], kinds: Sequence[Kind] = ORDER) -> list[Job]:
    """The jobs of these kinds in scripts, as they are declared.

    Raises:
        ScriptError: The scripts have no stage of these kinds.
    """
    jobs = [
        Job(
            script.path,
            stage.name,
            stage.kind,
            workers=getattr(stage, "workers", 1),
            gpus=getattr(stage, "gpus", 0.0),
        )
        for script in scripts
        for stage in script.stages
    ]
    return of_kinds(jobs, kinds)


def of_kinds(jobs: Sequence[Job], kinds: Sequence[Kind]) -> list[Job]:
    """The jobs of these kinds.

    Raises:
        ScriptError: There are none.
    """
    chosen = [job for job in jobs if job.kind in kinds]
    if not chosen:
        have = sorted({job.kind for job in jobs})
        scripts = dict.fromkeys(str(job.script) for job in jobs)
        raise ScriptError(
            f"no stage to {' or '.join(kinds)} in {', '.join(scripts)}", f"They have stages to {', '.join(have)}."
        )
    return chosen


def run_rounds(
    jobs: Sequence[Job],
    executor: Executor,
    watcher: Watcher | None = None,
    *,
    expander: Expander | None = None,
    fail_fast: bool = False,
) -> list[JobReport]:
    """Run jobs in rounds; a round with a failure is the last one.

    Args:
        jobs: The jobs, of any kinds.
        executor: Where they run.
        watcher: Who sees them run.
        expander: Who knows which jobs stand for others; None: none does.
        fail_fast: Whether the first failure ends the other jobs, too.

    Returns:
        One report for each job that ran (and for each choice of a best version), in the order of the jobs.
    """
    reports: list[JobReport] = []
    for kind in ORDER:
        chosen = [job for job in jobs if job.kind == kind]
        if chosen:
            reports += _round(
                kind, chosen, executor, watcher or Watcher(), expander or AsTheyAre(), fail_fast=fail_fast
            )
        if any(report.error for report in reports):
            break
    return reports


def _round(
    kind: Kind, jobs: Sequence[Job], executor: Executor, watcher: Watcher, expander: Expander, *, fail_fast: bool
) -> list[JobReport]:
    refused: dict[int, JobReport] = {}
    pieces: list[Sequence[Job]] = []
    for number, job in enumerate(jobs):
        try:
            pieces.append(expander.expand(job, watcher))
        except NemesystError as error:  # the others go on
            pieces.append([])
            refused[number] = JobReport(job, error=error)
            watcher.ended(refused[number])
    # One of each in turn, so that a learner of thousands of entities does not keep the others waiting.
    order = [job for job in chain.from_iterable(zip_longest(*pieces)) if job is not None]
    watcher.round(kind, len(order))
    found: dict[Job, JobReport] = {}
    if order and not (fail_fast and refused):
        found = Round(executor, watcher, fail_fast=fail_fast).run(order)
    reports: list[JobReport] = []
    for number, (job, mine) in enumerate(zip(jobs, pieces, strict=True)):
        done = [found[piece] for piece in mine if piece in found]
        reports += [refused[number]] if number in refused else done
        if done and len(done) == len(mine) and not any(report.stopped for report in done):
            for conclusion in expander.conclude(job, done):
                reports.append(conclusion)
                watcher.ended(conclusion)
    return reports
