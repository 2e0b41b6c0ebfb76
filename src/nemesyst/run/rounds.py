"""Rounds: all jobs of a stage side by side, then the next stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemesyst.errors import ScriptError
from nemesyst.run.jobs import Executor, Job, JobReport, Kind, Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.stages import Script

ORDER: tuple[Kind, ...] = ("wrangle", "learn", "infer")


def jobs_of(scripts: Sequence[Script], kinds: Sequence[Kind] = ORDER) -> list[Job]:
    """The jobs of these kinds in scripts.

    Raises:
        ScriptError: The scripts have no stage of these kinds.
    """
    jobs = [Job(script.path, stage.name, stage.kind) for script in scripts for stage in script.stages]
    chosen = [job for job in jobs if job.kind in kinds]
    if not chosen:
        have = sorted({job.kind for job in jobs})
        raise ScriptError(
            f"no stage to {' or '.join(kinds)} in {', '.join(str(script.path) for script in scripts)}",
            f"They have stages to {', '.join(have)}.",
        )
    return chosen


def run_rounds(jobs: Sequence[Job], executor: Executor, watcher: Watcher | None = None) -> list[JobReport]:
    """Run jobs in rounds; a round with a failure is the last one.

    Returns:
        One report for each job that ran.
    """
    reports: list[JobReport] = []
    for kind in ORDER:
        chosen = [job for job in jobs if job.kind == kind]
        if chosen:
            reports += executor.run(chosen, watcher or Watcher())
        if any(report.error for report in reports):
            break
    return reports
