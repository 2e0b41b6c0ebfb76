"""What a learner's declaration may not say together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import ScriptError
from nemesyst.models import Reference
from nemesyst.stages.best import Best
from nemesyst.stages.grid import check_arguments

if TYPE_CHECKING:
    from nemesyst.stages.declare import Learner


def check_learner(stage: Learner) -> None:
    """Refuse what contradicts itself.

    Raises:
        ScriptError: It does.
    """
    if stage.best is not None and not isinstance(stage.best, Best):
        raise ScriptError(
            f"@nm.learner: best={stage.best!r}", 'Name a metric, best="mae", or give nm.Best("mae", ...).'
        )
    if stage.entities is not None and Reference.parse_target(stage.model).entity is not None:
        raise ScriptError(
            f"@nm.learner: entities= and model={stage.model!r}, which names an entity itself", "Leave one of them out."
        )
    if stage.grid is not None:
        check_arguments(stage.function, stage.grid, "grid")
    if stage.alias is not None and stage.grid is not None:
        raise ScriptError(
            f"@nm.learner: promote={stage.alias!r} with a grid would promote whichever job ends last",
            'Say which version is promoted: best="mae".',
        )
    if stage.best is not None:
        if stage.alias == stage.best.alias:
            raise ScriptError(
                f"@nm.learner: promote={stage.alias!r} promotes each version, and best= only the best one",
                "Leave one of them out.",
            )
        stage.best.part(stage.feed)


def check_resources(workers: Any, gpus: Any) -> None:
    """Refuse numbers of workers and GPUs that are none.

    Raises:
        ScriptError: They are.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ScriptError(f"workers={workers!r}", "Give how many processes train one model together, 1 or more.")
    if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < 1024:
        raise ScriptError(f"gpus={gpus!r}", "Give how many GPUs each worker gets, such as gpus=1.")
