"""The learn stage: a function, its feed, and the versions that come of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError, ScriptError, UnknownModelError
from nemesyst.frameworks import seed_all
from nemesyst.models import Reference, code_of
from nemesyst.stages.asked import asked_of
from nemesyst.stages.changing import learner_feed, learner_model
from nemesyst.stages.checkpointing import cutoff, stored_before, tell_unused
from nemesyst.stages.declare import Learner, Trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed import BoundFeed
    from nemesyst.stages.context import Run
    from nemesyst.types import Version


def learn(run: Run, stage: Learner) -> tuple[str, dict[str, Any]]:
    """Run a learner to its end, and store what it gives; a line for people, and the numbers behind it."""
    model = learner_model(stage, run.context)
    run.hub.models.check_writable(f"learn {model}")
    begin, script = time.monotonic(), run.context.script
    code = code_of(stage.function, script)  # before the function runs: what it changes is not its code
    as_of = cutoff(run)  # of a run that is gone on with: its rows, not those of now
    open_feed(run, stage, as_of=as_of, parent=_parent(run, stage))
    versions: list[Version] = []
    given = 0
    for trained in trained_by(run, stage):
        own = _rows_of_all(run)
        _check_rows(run, stage)
        given += 1
        number, run.track.yielded = run.track.yielded, run.track.yielded + 1
        if run.rank:
            run.feed.went_through(own)
            continue  # rank 0 stores the model, which is the same on all
        if (before := stored_before(run, model).get(number)) is not None:
            versions.append(_promoted(run, stage, before))
            continue
        learner = {
            "function": stage.name,
            "script": None if script is None else str(script.resolve()),
            "args": dict(run.args),
            "seed": run.seed,
            "epochs": run.bound.train.epoch if run.bound is not None else 0,
            "yielded": number,
            **({} if (kept := getattr(run.context.recorder, "run", None)) is None else {"run": kept}),
            **({"workers": run.world_size} if run.world_size > 1 else {}),
            **asked_of(run.context.entity, run.context.changes),
            **code,
        }
        version = run.hub.models.save(
            run.context.group.unwrapped(trained.model),
            model,
            feed=run.feed,
            build=stage.build,
            args=_rebuilding(run, stage, trained),
            metrics=dict(trained.metrics or {}),
            parent=None if run.parent is None else run.parent.ref,
            learner=learner,
            optimizer=trained.optimizer,
            also=trained.also,
            tags=trained.tags,
            text=stage.text,
            curves=run.curves.dumped(),
            seconds=time.monotonic() - begin,
        )
        run.feed.went_through(own)
        versions.append(_promoted(run, stage, version))
    tell_unused(run)
    if not given and run.track.yielded:  # it was interrupted behind the last one
        versions = list(stored_before(run, model).values())
    elif not given:
        raise ScriptError(f"{stage.name} trained nothing", "Return or yield nm.Trained(model, metrics={...}).")
    if run.rank:
        return f"trained as worker {run.rank} of {run.world_size}", {}
    return _saved(stage, versions), {"versions": [_brief(version) for version in versions]}


def _promoted(run: Run, stage: Learner, version: Version) -> Version:
    """A version, after it got its alias, if it has it not already."""
    if stage.alias is not None and stage.alias not in version.aliases:
        run.hub.models.promote(version.ref, stage.alias, why=f"trained by {stage.name}")
    return version


def open_feed(run: Run, stage: Learner, *, as_of: Any = None, parent: Version | None = None) -> None:
    """Give a run its learner's feed, with the scale of the version that it goes on from."""
    prepared = None if parent is None else parent.feed
    spec = learner_feed(stage, run.context)
    feed = _shared(run, spec, as_of, prepared)
    if stage.since is not None:
        feed = feed.since(*(stage.since if isinstance(stage.since, tuple) else (stage.since,)))
    run.bound = feed.watched(run.context.progress.rows)
    run.model, run.parent, run.seed = learner_model(stage, run.context), parent, spec.seed


def _shared(run: Run, spec: Any, as_of: Any, prepared: Any) -> BoundFeed:
    """The feed: of several workers' the rank's even share, under the cutoff that rank 0 has found."""
    group = run.context.group
    if group.size == 1:
        return run.hub.feed(spec, as_of=as_of, prepared=prepared)
    own = {"shard": (group.rank, group.size), "even": True, "prepared": prepared}
    feed = None if group.rank else run.hub.feed(spec, as_of=as_of, **own)
    cutoff = group.broadcast(None if feed is None else feed.origin()["as_of"])
    return feed or run.hub.feed(spec, as_of=cutoff, **own)


def trained_by(run: Run, stage: Learner) -> Iterator[Trained]:
    """Seed what is drawn, and call a learner's function; what it returns or yields.

    Raises:
        ScriptError: That is no :class:`Trained`.
    """
    seed_all(run.seed)  # here, so that nothing is drawn between
    result = stage.function(run, **run.args)
    for trained in result if inspect.isgenerator(result) else (result,):
        if not isinstance(trained, Trained):
            raise ScriptError(
                f"{stage.name} gave {type(trained).__name__}, expected nm.Trained",
                "Return or yield nm.Trained(model, metrics={...}).",
            )
        for name in ("metrics", "args", "tags"):
            if not isinstance(getattr(trained, name), Mapping | None):
                raise ScriptError(f"{stage.name}: nm.Trained({name}=...) is no dict", f"Write {name}={{...}}.")
        yield trained


def _parent(run: Run, stage: Learner) -> Version | None:
    """The version to go on from; None where an alias of the model's own means nothing yet."""
    if run.track.held is not None:  # what an alias meant when the run began
        ref = run.track.state["parent"]
        return None if ref is None else run.hub.models.get(ref)
    if stage.parent is None:
        return None
    own = stage.parent.startswith("@")
    ref = Reference.parse(learner_model(stage, run.context) + stage.parent if own else stage.parent)
    group = run.context.group
    if group.rank:  # an alias may have moved since rank 0 followed it
        found = group.broadcast(None)
        return None if found is None else run.hub.models.get(found)
    version = _looked_up(run, ref, own=own)
    group.broadcast(None if version is None else version.ref)
    return version


def _looked_up(run: Run, ref: Reference, *, own: bool) -> Version | None:
    try:
        return run.hub.models.get(str(ref))
    except UnknownModelError:
        if own and not isinstance(ref.selector, int):
            return None  # the first version has none
        raise


def _rows_of_all(run: Run) -> dict[str, int]:
    """Have the feed tell what all workers have gone through, for the record; what this one has."""
    own = run.feed.rows
    if run.world_size > 1:
        shares = run.context.group.gather(own)
        run.feed.went_through({name: sum(share.get(name, 0) for share in shares) for name in set().union(*shares)})
    return own


def _check_rows(run: Run, stage: Learner) -> None:
    """Refuse a model that learned from nothing."""
    rows = run.feed.rows
    if rows and not any(rows.values()):
        raise FeedError(
            f"{stage.name}: its feed of {run.feed.spec.collection} gave no row, so nothing was learned or saved",
            "Check the pipeline and the split; the hash of a field with few values may leave a part empty.",
        )


def _rebuilding(run: Run, stage: Learner, trained: Trained) -> dict[str, Any]:
    """Arguments that make such a model again: those given, else those of the run that the build function takes."""
    if trained.args is not None:
        return dict(trained.args)
    if stage.build is None:
        return dict(run.args)
    return {name: value for name, value in run.args.items() if name in inspect.signature(stage.build).parameters}


def _saved(stage: Learner, versions: Sequence[Version]) -> str:
    shown = ", ".join(version.ref for version in versions)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in versions[-1].metrics.items())
    alias = f", promoted to {stage.alias}" if stage.alias else ""
    return f"saved {shown}{alias}{f' ({metrics})' if metrics else ''}"


def _brief(version: Version) -> dict[str, Any]:
    return {"ref": version.ref, "digest": version.digest, "size": version.size, "metrics": dict(version.metrics)}
