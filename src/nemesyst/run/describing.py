"""A job as JSON, for the process that does it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.database import from_extended, to_extended
from nemesyst.errors import JobError
from nemesyst.run.jobs import Job
from nemesyst.stages import Changes

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe(job: Job, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that a process needs to do a job, as JSON values; holds secrets.

    Args:
        job: The job.
        settings: The settings as values, secrets revealed.

    Raises:
        JobError: An argument or the entity is nothing that the database could hold.
    """
    try:
        free = to_extended({"entity": job.entity, "args": dict(job.args), "changes": asdict(job.changes)})
    except (TypeError, ValueError, OverflowError) as error:
        raise JobError(
            f"{job} ({job.script}): its arguments cannot be handed to another process: {error}",
            "Give numbers, texts, times, lists and tables.",
        ) from None
    return {
        "script": str(job.script),
        "name": job.name,
        "kind": job.kind,
        "label": job.label,
        "workers": job.workers,
        "gpus": job.gpus,
        "resume": job.resume,
        "continues": job.continues,
        "settings": dict(settings),
        **free,
    }


def job_of(description: Mapping[str, Any]) -> Job:
    """The job that :func:`describe` described; time limit and retries stay with the round."""
    free = from_extended({name: description[name] for name in ("entity", "args", "changes")})
    return Job(
        Path(description["script"]),
        description["name"],
        description["kind"],
        description["label"],
        entity=free["entity"],
        args=free["args"],
        changes=Changes(**free["changes"]),
        workers=description["workers"],
        gpus=description["gpus"],
        resume=description["resume"],
        continues=description["continues"],
    )
