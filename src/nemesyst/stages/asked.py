"""What a version's record keeps of its job: the entity and the changes, so that a replay trains on the same rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nemesyst.database import from_extended, to_extended
from nemesyst.errors import ReplayError
from nemesyst.stages.entities import entity_text
from nemesyst.stages.seams import Changes, JobContext

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemesyst.stages.seams import Progress


def asked_of(entity: Any, changes: Changes) -> dict[str, Any]:
    """What goes into the record; nothing where there is neither.

    It is kept as text: a record holds no name that begins with a dollar, and extended JSON is made of them.
    """
    if entity is None and changes == Changes():
        return {}
    job = json.dumps(to_extended({"entity": entity, "changes": asdict(changes)}))
    return {"job": job} if entity is None else {"entity": entity_text(entity), "job": job}


def context_of(learner: Mapping[str, Any], path: Path, progress: Progress) -> JobContext:
    """The job of then.

    Raises:
        ReplayError: The record does not say.
    """
    if "job" not in learner:
        return JobContext(path, progress=progress)
    try:
        job = from_extended(json.loads(learner["job"]))
        return JobContext(path, job["entity"], Changes(**job["changes"]), progress)
    except (ValueError, KeyError, TypeError) as error:
        raise ReplayError(
            f"the record of {learner.get('function')} does not say which rows its job had: {error!s:.200}",
            "It is damaged, or a newer version of Nemesyst has written it.",
        ) from None
