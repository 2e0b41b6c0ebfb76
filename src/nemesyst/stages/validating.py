"""Measuring a model in training on the validation part, alike on all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError, ModelError, ScriptError, SettingsError, nearest
from nemesyst.frameworks import adapter_for, pace
from nemesyst.models import Scores, inputs_of
from nemesyst.stages.validation import Validated, Validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.stages.context import Run
    from nemesyst.stages.validation import Asked, Predict

_PREFIX = {"validation": "val", "test": "test"}
"""What stands before the name of a metric in a run's curves."""


def validate(run: Run, net: Any, metrics: Any, asked: Asked) -> Validated:
    """Measure a model; see :meth:`Run.validate`."""
    scores = Scores(metrics, run.feed.unscale)
    by = asked.by or next(iter(scores.metrics))
    if by not in scores.metrics:
        raise ScriptError(f"run.validate(by={by!r}): {nearest(by, list(scores.metrics))}", "Name one of the metrics.")
    better = asked.better or getattr(scores.metrics[by], "better", None)
    if asked.decides and better is None:
        raise ScriptError(
            f"run.validate: {by} is a function of your own, and decides on the best weights",
            'Say better="lower" or better="higher".',
        )
    net = _alike(run, run.context.group.unwrapped(net))
    found = _measured(run, net, scores, asked)
    _log(run, found, asked)
    if asked.part != "validation" or better is None:
        return Validated(found, found)
    return _judged(run, net, found, asked, (by, better))


def _alike(run: Run, net: Any) -> Any:
    """Give the buffers of a PyTorch module the values of rank 0, whose module is stored.

    Parameters are alike on all ranks; what a batch normalisation has counted is a rank's own until its next step.
    """
    if run.world_size > 1 and adapter_for(net).name == "torch":
        mine = list(net.buffers())
        if mine:
            theirs = run.context.group.broadcast([each.detach().cpu() for each in mine])
            for buffer, values in zip(mine, theirs, strict=True):
                buffer.detach().copy_(values)
    return net


def _log(run: Run, found: Mapping[str, float], asked: Asked) -> None:
    named = {f"{_PREFIX[asked.part]}/{name}": value for name, value in found.items()}
    more = {} if asked.optimizer is None else pace(asked.optimizer)
    before, there = run.track.validated
    step = run.curves.step if asked.step is None else asked.step
    if asked.step is None and step == before:
        step = None if there & named.keys() else step  # None: the next one
    else:
        there = frozenset()
    run.log({**named, **more}, step=step)
    run.track.validated = run.curves.step, (there if step is not None else frozenset()) | named.keys()


def _judged(run: Run, net: Any, found: Mapping[str, float], asked: Asked, how: tuple[str, Any]) -> Validated:
    now = run.validation
    if (
        now is None
        or now.over
        or 0 < now.loop < run.track.loop
        or (not now.decides and (asked.decides or (now.by, now.better) != how))
    ):
        now = run.validation = Validation(by=how[0], better=how[1], decides=asked.decides)
    elif (now.decides and not asked.decides) or now.loop > run.track.loop:
        return Validated(found, now.best or found, stop=now.stopped)  # another model, or it is too early
    if (now.by, now.better) != how:
        raise ScriptError(
            f"run.validate: {how[0]} ({how[1]} is better) decides now, and before {now.by} ({now.better}) did",
            "Let one metric decide; give the same by= and better= each time.",
        )
    now.loop = run.track.loop
    improved = now.judge(found, net, asked)
    return Validated(found, dict(now.best) or found, improved, now.stopped)


def _measured(run: Run, net: Any, scores: Scores, asked: Asked) -> dict[str, float]:
    """The metrics over all rows of the part, on every rank the same."""
    spec, part = run.feed.spec, asked.part
    if spec.split is None:
        raise FeedError(
            f"run.validate: the feed of {spec.collection} has no {part} part",
            f"Split it: nm.Feed(..., split=nm.Split({part}=0.1)).",
        )
    if not spec.targets:
        raise FeedError(f"run.validate: the feed of {spec.collection} has no targets", 'Name them: targets=["air"].')
    predict = asked.predict or _by_the_adapter
    try:
        for batch in getattr(run.feed, part):
            if len(batch["y"]):
                scores.add(batch["y"], _predicted(predict, net, batch), batch.get("mask.y"))
        states = run.context.group.gather(scores.state())
    except (SettingsError, ModelError) as error:
        raise type(error)(f"run.validate: {error.message}", error.remedy) from error
    if not any(state["rows"] for state in states):
        raise FeedError(
            f"run.validate: the {part} part of {spec.collection} gave no row with a target",
            f"Give it a share of the rows: nm.Split({part}=0.1); by a field of few values it may stay empty.",
        )
    return scores.values(states)


def _by_the_adapter(net: Any, batch: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    inputs = inputs_of(batch)
    if inputs is None:
        raise ModelError(
            "the feed has no inputs=, so it is not known what the model takes",
            "Pass predict=a function of the model and a batch.",
        )
    return adapter_for(net).predict(net, inputs)


def _predicted(predict: Predict, net: Any, batch: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    said = predict(net, {name: each for name, each in batch.items() if name not in ("y", "mask.y", "weight")})
    return np.asarray(said.detach().cpu() if hasattr(said, "detach") else said)
