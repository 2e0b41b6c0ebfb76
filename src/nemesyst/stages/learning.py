"""The learn stage: a function, its feed, and the versions that come of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError, ScriptError, UnknownModelError
from nemesyst.frameworks import seed_all
from nemesyst.models import Reference, code_of
from nemesyst.stages.declare import Learner, Trained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nemesyst.stages.context import Run
    from nemesyst.types import Version


def learn(run: Run, stage: Learner, script: Path | None = None) -> tuple[str, dict[str, Any]]:
    """Run a learner to its end, and store what it gives; a line for people, and the numbers behind it."""
    run.hub.models.check_writable(f"learn {stage.model}")
    begin = time.monotonic()
    code = code_of(stage.function, script)  # before the function runs: what it changes is not its code
    open_feed(run, stage, parent=_parent(run, stage))
    versions: list[Version] = []
    for number, trained in enumerate(trained_by(run, stage)):
        _check_rows(run, stage)
        learner = {
            "function": stage.name,
            "script": None if script is None else str(script.resolve()),
            "args": dict(run.args),
            "seed": run.seed,
            "epochs": run.bound.train.epoch if run.bound is not None else 0,
            "yielded": number,
            **code,
        }
        version = run.hub.models.save(
            trained.model,
            stage.model,
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
        if stage.alias is not None:
            run.hub.models.promote(version.ref, stage.alias, why=f"trained by {stage.name}")
        versions.append(version)
    if not versions:
        raise ScriptError(f"{stage.name} trained nothing", "Return or yield nm.Trained(model, metrics={...}).")
    return _saved(stage, versions), {"versions": [_brief(version) for version in versions]}


def open_feed(run: Run, stage: Learner, *, as_of: Any = None, parent: Version | None = None) -> None:
    """Give a run its learner's feed, with the scale of the version that it goes on from."""
    prepared = None if parent is None else parent.feed
    feed = run.hub.feed(stage.feed, as_of=as_of, prepared=prepared)
    if stage.since is not None:
        feed = feed.since(*(stage.since if isinstance(stage.since, tuple) else (stage.since,)))
    run.bound = feed.watched(run.progress.rows)
    run.model, run.parent, run.seed = stage.model, parent, stage.feed.seed


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
    if stage.parent is None:
        return None
    own = stage.parent.startswith("@")
    ref = Reference.parse(stage.model + stage.parent if own else stage.parent)
    try:
        return run.hub.models.get(str(ref))
    except UnknownModelError:
        if own and not isinstance(ref.selector, int):
            return None  # the first version has none
        raise


def _check_rows(run: Run, stage: Learner) -> None:
    """Refuse a model that learned from nothing."""
    rows = run.feed.rows
    if rows and not any(rows.values()):
        raise FeedError(
            f"{stage.name}: its feed of {stage.feed.collection} gave no row, so nothing was learned or saved",
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
