"""Doing a stage: the same for every executor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import STAMP
from nemesyst.errors import ScriptError
from nemesyst.frameworks import adapter_named
from nemesyst.stages.arguments import arguments_of
from nemesyst.stages.changing import predictor_feed
from nemesyst.stages.context import Run
from nemesyst.stages.declare import Learner, Predictor, Stage, Wrangler
from nemesyst.stages.entities import entity_text
from nemesyst.stages.fleets.fleet import FleetStage
from nemesyst.stages.learning import learn
from nemesyst.stages.seams import JobContext

if TYPE_CHECKING:
    from nemesyst.hub import Hub
    from nemesyst.types import Batch, PutReport


_OWN = {"_id", STAMP, "job", "source", "model"}
"""Fields of a prediction that are ours."""


@dataclass(frozen=True)
class Outcome:
    """What a job did, in JSON values.

    Attributes:
        kind: ``wrangle``, ``learn`` or ``infer``.
        name: The function.
        summary: A line for people.
        details: The numbers behind it.
        seconds: Time taken, in s.
    """

    kind: str
    name: str
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def work(
    hub: Hub,
    stage: Stage,
    settings: Mapping[str, Any],
    context: JobContext | None = None,
) -> Outcome:
    """Run one stage's function to its end and store what it yields.

    Args:
        hub: The hub.
        stage: What to run.
        settings: Values for the function's arguments.
        context: What the job is given beside its stage.

    Raises:
        NemesystError: What the user can mend; exceptions of the function itself pass through.
    """
    start = time.monotonic()
    run = Run(hub, args=arguments_of(stage, settings), context=context or JobContext())
    if isinstance(stage, Wrangler):
        summary, details = _wrangle(run, stage)
    elif isinstance(stage, FleetStage):
        summary, details = _fleet(run, stage)
    elif isinstance(stage, Learner):
        summary, details = learn(run, stage)
    elif isinstance(stage, Predictor):
        summary, details = _infer(run, stage)
    else:
        raise TypeError(stage)
    return Outcome(stage.kind, stage.name, summary, details, time.monotonic() - start)


def _fleet(run: Run, stage: FleetStage) -> tuple[str, dict[str, Any]]:
    from nemesyst.stages.fleets.training import learn_fleet

    return learn_fleet(run, stage)


def _wrangle(run: Run, stage: Wrangler) -> tuple[str, dict[str, Any]]:
    records = stage.function(run, **run.args)
    if records is None:
        raise ScriptError(f"{stage.name} yields nothing", "A wrangler yields records: yield {'image': array}.")
    seen = 0

    def tell(rows: int, _: int) -> None:
        nonlocal seen
        run.context.progress.rows(rows - seen)
        seen = rows

    into = run.context.changes.into or stage.into
    report = run.hub.put(
        into,
        records,
        key=stage.key,
        on_conflict=stage.on_conflict,
        schema=stage.schema,
        source=stage.name,
        progress=tell,
    )
    tell(max(seen, report.stored + report.unchanged + report.replaced + report.rejected), 0)  # the last batch, too
    parts = [f"{report.stored:,} rows stored in {into}"]
    parts += [f"{n:,} {what}" for what, n in (("unchanged", report.unchanged), ("replaced", report.replaced)) if n]
    return ", ".join(parts) + _rejected(report), asdict(report)


def _rejected(report: PutReport) -> str:
    return f", {report.rejected:,} rejected, see {report.collection}.rejected" if report.rejected else ""


def _infer(run: Run, stage: Predictor) -> tuple[str, dict[str, Any]]:
    version = run.hub.models.get(run.context.changes.model or stage.model)
    if version.feed is None:
        raise ScriptError(
            f"{stage.name}: {version.ref} was saved without a feed, so there is nothing to predict on",
            "Save it with feed=...",
        )
    if stage.build is None and adapter_named(version.framework).needs_target:
        raise ScriptError(
            f"{stage.name}: {version.ref} holds weights of {version.framework}, which need a model to go into",
            f"Write @nm.predictor({version.path!r}, ..., build=a function that makes one).",
        )
    run.model = run.hub.models.load(version.ref, build=stage.build)
    run.version = version.ref
    feed = run.hub.feed(predictor_feed(stage, version.feed, run.context.changes))
    run.bound = (feed if stage.part is None else getattr(feed, stage.part)).watched(run.context.progress.rows)
    run.context.progress.expect(run.feed.estimate())
    into = run.context.changes.into or stage.into
    report = run.hub.put(
        into, _predictions(run, stage), key=("job", "source"), on_conflict="replace", source=stage.name
    )
    summary = f"{report.stored + report.replaced:,} predictions by {version.ref} in {into}" + _rejected(report)
    return summary, {"model": version.ref, **asdict(report)}


def _predictions(run: Run, stage: Predictor) -> Iterator[dict[str, Any]]:
    job = stage.name if run.entity is None else f"{stage.name}[{entity_text(run.entity)}]"
    for ids, batch in run.feed.with_ids():
        columns = _checked(stage, stage.function(run, batch, **run.args), len(ids))
        for row, source in enumerate(ids):
            values = {name: column[row] for name, column in columns.items()}
            yield {"job": job, "source": source, "model": run.version, **values}


def _checked(stage: Predictor, result: Any, rows: int) -> Batch:
    if not isinstance(result, Mapping):
        raise ScriptError(
            f"{stage.name} gave {type(result).__name__}, expected named arrays", "Return {'label': array}."
        )
    for name in result:
        if not isinstance(name, str) or not name or name in _OWN or "." in name or name.startswith("$"):
            raise ScriptError(
                f"{stage.name}: {name!r} cannot name a prediction",
                f"Choose a text without dot and leading dollar that is none of {', '.join(sorted(_OWN))}.",
            )
    columns = {name: np.asarray(column) for name, column in result.items()}
    for name, column in columns.items():
        if column.shape[:1] != (rows,):
            raise ScriptError(
                f"{stage.name}: {name} has shape {column.shape} for a batch of {rows} rows",
                "Return one element per row.",
            )
    return columns
