"""A learner as a plain function: for searches over arguments, notebooks and tests; nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import ScriptError, SettingsError, nearest
from nemesyst.stages.arguments import arguments_of, taken_by
from nemesyst.stages.checkpointing import tell_unused
from nemesyst.stages.context import Run
from nemesyst.stages.declare import Learner, Trained, stage_of
from nemesyst.stages.learning import open_feed, trained_by
from nemesyst.stages.seams import JobContext, Unrecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemesyst.hub import Hub

    OnLog = Callable[[Mapping[str, float], int | None], object]


class _Heard(Unrecorded):
    """A recorder that tells a function."""

    def __init__(self, on_log: OnLog) -> None:
        self._on_log = on_log

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """Tell it; what it raises ends the learner."""
        self._on_log(values, step)


def trial(
    hub: Hub,
    learner: Callable[..., Any],
    args: Mapping[str, Any] | None = None,
    *,
    entity: Any = None,
    on_log: OnLog | None = None,
) -> Trained:
    """Call a learner in this process, on its feed, seeded as a job of it would be; neither model nor record is stored.

    Args:
        hub: The hub.
        learner: A function that was declared with :func:`nemesyst.learner`.
        args: Its arguments beside ``run``; the others have their defaults.
        entity: The device or site to train for, of a learner with ``entities=``.
        on_log: Called with the values and the step of each ``run.log``, ``run.validate`` included. What it raises
            passes through the learner and out of here: a search prunes a trial so.

    Returns:
        What the learner returned; the last one, if it yielded several.

    Raises:
        ScriptError: The function is no learner, or trained nothing.
        SettingsError: It takes no such argument, or a value has the wrong type.
    """
    stage = stage_of(learner)
    if not isinstance(stage, Learner):
        raise ScriptError(f"nm.trial: {stage.name} is no learner, but there to {stage.kind}", "Give a learner.")
    given, known = dict(args or {}), taken_by(stage)
    for name in given:
        if name not in known:
            raise SettingsError(f"nm.trial: {stage.name} takes no argument {name}", nearest(name, known))
    recorder = Unrecorded() if on_log is None else _Heard(on_log)
    run = Run(hub, args=arguments_of(stage, {stage.name: given}), context=JobContext(entity=entity, recorder=recorder))
    open_feed(run, stage)
    try:
        made = list(trained_by(run, stage))[-1:]
    finally:
        run.feed.close()
    tell_unused(run)
    if not made:
        raise ScriptError(f"{stage.name} trained nothing", "Return or yield nm.Trained(model, metrics={...}).")
    return made[0]
