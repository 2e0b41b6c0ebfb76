"""Checkpoints of a run in training, and going on from one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nemesyst.errors import JobError, ModelError, ScriptError, UnknownModelError, UnreachableError
from nemesyst.frameworks import restore_random_states, seed_all
from nemesyst.stages import snapshots
from nemesyst.stages.seams import Unrecorded
from nemesyst.stages.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemesyst.stages.context import Run
    from nemesyst.types import Version

_Batch = TypeVar("_Batch")


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be kept, or that a run does not go on from; training goes on."""


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run went on from.

    Attributes:
        step: Steps that had been made.
        epoch: The epoch that it was in, from 0.
        also: What was kept with it and is no object with a state: numbers, texts, arrays, trees of those.
        model: The model with its weights: the one that was given, unless its arrays never change (JAX).
        optimizer: The optimiser with its state: likewise.
    """

    step: int
    epoch: int
    also: Mapping[str, Any] = field(default_factory=dict)
    model: Any = None
    optimizer: Any = None


def epochs(run: Run, count: int) -> Iterator[int]:
    """Count epochs; see :meth:`Run.epochs`."""
    track, loop = run.track, run.track.loop
    track.loop += 1
    own = track.loop
    rows = None if run.bound is None else run.bound.train.estimate()
    for number in range(_first(run, loop, count), count):
        if run.validation is not None and run.validation.loop == own and run.validation.stopped:
            break
        run.position = number
        track.before = None if run.bound is None else run.bound.train.epoch
        run.context.progress.epoch(number + 1, count, rows)
        if track.random is not None:
            _restore_random(run)
        yield number
    track.before = None
    if run.validation is not None and run.validation.loop == own:
        run.validation.finish()


def _first(run: Run, loop: int, count: int) -> int:
    """The epoch that a loop begins with: loops before the one that was interrupted are over."""
    if run.track.first is None or loop > run.track.first[0]:
        return 0
    return run.track.first[1] if loop == run.track.first[0] else count


def batches(run: Run, loader: Iterable[_Batch]) -> Iterator[_Batch]:
    """Count the batches of a loader; see :meth:`Run.batches`."""
    return run.feed.train.taking(loader)


def checkpoint(run: Run, step: int, model: Any, optimizer: Any, also: Mapping[str, Any]) -> None:
    """Keep a checkpoint; see :meth:`Run.checkpoint`."""
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
        raise ScriptError(f"run.checkpoint(step={step!r})", "Give the number of steps that were made, 0 or more.")
    if run.world_size == 1 and isinstance(run.context.recorder, Unrecorded):
        return
    random = snapshots.random_of_all(run)  # here, as all ranks take part in it
    if run.rank != 0:
        return
    try:
        position = _position(run)
    except UnreachableError as error:  # only the first one needs the database
        warnings.warn(f"no checkpoint of step {step}: {error.message}", CheckpointWarning, stacklevel=3)
        return
    state = {
        "random": random,
        "also": snapshots.kept_also(also),
        "curves": run.curves.state_dict(),
        "validation": None if run.validation is None else run.validation.state_dict(run.context.group.unwrapped(model)),
        "loop": max(run.track.loop - 1, 0),
        "yielded": run.track.yielded,
        "parent": None if run.parent is None else run.parent.ref,
    }
    contents = snapshots.contents_of(run, model, optimizer, state)
    run.context.recorder.save(int(step), Snapshot(int(step), _epoch(run, position), position, contents))


def _position(run: Run) -> dict[str, Any] | None:
    """Where the feed is: after the batches that the loop has taken."""
    if run.bound is None:
        return None
    if not run.feed.train.exact:
        raise ScriptError(
            "run.checkpoint: batches are read ahead of the loop (by worker processes or a framework), so the feed does "
            "not know which ones the loop has taken",
            "Loop over run.batches(loader), which counts them; or make checkpoints between two epochs.",
        )
    return run.feed.state_dict(stored=False)


def _epoch(run: Run, position: Mapping[str, Any] | None) -> int:
    """The epoch to go on with: the next one, if the feed has been gone through in the present one."""
    if position is None:
        return run.position
    place = _place(run, position)
    if run.track.before is None:  # a loop of the user's own, or none
        return int(place["epoch"]) if run.track.loop == 0 else run.position + 1
    return run.position + (not place["legs"] and place["epoch"] > run.track.before)


def _place(run: Run, position: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the train part is."""
    name = "all" if run.feed.train.part is None or run.feed.spec.split is None else "train"
    found: Mapping[str, Any] = position["parts"].get(name, {"epoch": 0, "legs": []})
    return found


def find(run: Run) -> Snapshot | None:
    """The checkpoint to go on from, looked for once; every rank calls it.

    Raises:
        JobError: The ranks have found different ones.
    """
    track = run.track
    if not track.sought:
        track.sought = True
        track.held = run.context.recorder.last()
        numbers = run.context.group.gather(0 if track.held is None else track.held.number)
        if len(set(numbers)) > 1:
            raise JobError(f"the workers found different checkpoints to go on from: {numbers}", "Start it again.")
        if track.held is not None:
            track.state = snapshots.state_of(track.held)
    return track.held


def resume(run: Run, model: Any, optimizer: Any, also: Mapping[str, Any]) -> Resumed | None:
    """Load the last checkpoint; see :meth:`Run.resume`."""
    held, track = find(run), run.track
    track.asked, track.held = True, None
    if held is None:
        return None
    try:
        model, optimizer = snapshots.load_weights(run, held, model, optimizer)
        values = snapshots.load_also(track.state["also"], also)
    except ModelError as error:
        raise type(error)(
            f"run.resume: {held} does not fit: {error.message}",
            "Make model, optimiser and also= as they were, or start from the beginning, without --resume."
            + (f" ({error.remedy})" if error.remedy else ""),
        ) from error
    _restore(run, held, model)
    track.state = {}  # it may hold the best weights
    return Resumed(held.step, held.epoch, values, model, optimizer)


def _restore(run: Run, held: Snapshot, model: Any) -> None:
    track = run.track
    run.position, track.first = held.epoch, (int(track.state["loop"]), held.epoch)
    track.yielded = int(track.state["yielded"])
    run.curves.load_state_dict(track.state["curves"])
    if track.state["validation"] is not None:
        track.validated = run.curves.step, run.curves.names
        from nemesyst.stages.validation import Validation

        run.validation = Validation()
        run.validation.load_state_dict(track.state["validation"], run.context.group.unwrapped(model))
    track.random = _random_of_rank(run, held.step)
    if held.position is not None:
        run.feed.load_state_dict(held.position)
        if _place(run, held.position)["legs"]:
            # a loader may draw numbers as it begins: in the midst of an epoch the first run did so long ago
            run.feed.train.when_begun(partial(_put_back, track.random))
    _put_back(track.random)


def _random_of_rank(run: Run, step: int) -> Mapping[str, Any]:
    """This rank's states; a rank that was not there before gets its own seed."""
    states = run.track.state["random"]
    if run.rank < len(states):
        found: Mapping[str, Any] = states[run.rank]
        return found
    return {"seed": int(np.random.SeedSequence([run.seed, run.rank, step]).generate_state(1)[0])}


def _restore_random(run: Run) -> None:
    """Put the states back as the first epoch begins: what the function drew before that does not count."""
    states, run.track.random = run.track.random, None
    if states is not None:
        _put_back(states)


def _put_back(states: Mapping[str, Any]) -> None:
    if "seed" in states:
        seed_all(states["seed"])
    else:
        restore_random_states(dict(states))


def cutoff(run: Run) -> Any:
    """The cutoff of the rows that a run goes on with; None: that of now. Looks for a checkpoint."""
    held = find(run)
    return None if held is None or held.position is None else held.position["as_of"]


def stored_before(run: Run, model: str) -> dict[int, Version]:
    """Versions that a resumed run has stored before it was interrupted, by their number among all that it gives."""
    run_id = getattr(run.context.recorder, "run", None)
    if run.resumed is None or run_id is None:
        return {}
    try:
        found = run.hub.models.list(model)
    except UnknownModelError:
        return {}
    return {
        int(version.learner["yielded"]): version
        for version in found
        if version.learner is not None and version.learner.get("run") == run_id
    }


def tell_unused(run: Run) -> None:
    """Say so, if a function did not ask for the checkpoint that it was to go on from, or for the best weights."""
    if run.validation is not None:
        run.validation.tell_unclaimed()
    if run.track.held is not None and not run.track.asked:
        warnings.warn(
            f"this run was to go on from {run.track.held}, and its function began from the beginning: it never called "
            "run.resume(model=..., optimizer=...)",
            CheckpointWarning,
            stacklevel=2,
        )
        run.track.held = None
