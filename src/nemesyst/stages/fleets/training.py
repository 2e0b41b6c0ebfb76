"""Training a fleet: group by group, each stored as soon as it is trained."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.errors import FeedError
from nemesyst.models import Curves, Reference, Saving, code_of
from nemesyst.stages.asked import asked_of
from nemesyst.stages.changing import changed_feed
from nemesyst.stages.entities import entity_text
from nemesyst.stages.expanding import entities_in
from nemesyst.stages.fleets.data import EntityRows, read_group
from nemesyst.stages.fleets.feed import check_devices, check_feed, groups_of
from nemesyst.stages.fleets.fleet import OWN, Fleet, FleetStage, batched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nemesyst.feed import Feed
    from nemesyst.frameworks import Learned
    from nemesyst.stages.context import Run
    from nemesyst.types import Version


@dataclass(frozen=True)
class FleetReport:
    """What became of a fleet.

    Attributes:
        versions: The new versions, by entity.
        metrics: Of each, by entity.
        epochs: How many each was trained, by entity.
        unchanged: Entities whose latest version is of the same rows, code and arguments: it was not made again.
        skipped: Entities without a version, and why.
        seconds: Time taken, in s.
        note: What else a person should know, or empty.
    """

    versions: Mapping[str, Version] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    unchanged: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        lines = [f"{len(self.versions):,} models saved in {self.seconds:.1f} s"]
        if self.metrics:
            names = dict.fromkeys(name for each in self.metrics.values() for name in each)
            means = {n: np.nanmean([each[n] for each in self.metrics.values() if n in each]) for n in names}
            lines[0] += f" (on average {', '.join(f'{name} {mean:.4g}' for name, mean in means.items())})"
        if self.unchanged:
            lines[0] += f", {len(self.unchanged):,} unchanged"
        lines += [self.note] if self.note else []
        if self.skipped:
            lines[0] += f", {len(self.skipped):,} skipped"
            lines += [f"  {entity}: {why}" for entity, why in list(self.skipped.items())[:10]]
        return "\n".join(lines)


@dataclass(frozen=True)
class Task:
    """What all entities of a fleet are trained with.

    Attributes:
        fleet: As declared.
        name: The function's, for the records.
        feed: Of all entities, with the job's changes.
        field: Field whose value is the entity.
        model: Name that the models are stored under.
        args: Arguments of the fleet and of the build function.
        recipe: How each is trained.
        code: Digest of build and loss, and where they are kept.
    """

    fleet: Fleet
    name: str
    feed: Feed
    field: str
    model: str
    args: Mapping[str, Any]
    recipe: Any
    code: Mapping[str, Any]

    @property
    def building(self) -> dict[str, Any]:
        """Arguments of the build function."""
        return {name: value for name, value in self.args.items() if name not in OWN}

    @property
    def make(self) -> Callable[[], Any]:
        """Makes an untrained model."""
        return partial(self.fleet.build, **self.building)

    def key(self, rows: EntityRows) -> str | None:
        """A digest of all that decides on the weights of an entity; None where its code cannot be told."""
        if self.code["source"] is None:
            return None
        recipe = {name: value for name, value in asdict(self.recipe).items() if name != "loss"}
        told = [rows.spec.fingerprint, rows.digest, self.code["source"], self.building, recipe]
        return str(xxhash.xxh3_128_hexdigest(json.dumps(told, sort_keys=True, default=str).encode()))


def task_of(run: Run, stage: FleetStage) -> Task:
    """Settle what is trained, before any row is read.

    Raises:
        ModelError: A layer that a fleet cannot train.
        ScriptError: The feed cannot be read for many entities at once.
    """
    fleet = stage.fleet
    assert fleet is not None  # noqa: S101 - made so
    feed = changed_feed(fleet.feed, run.context.changes.feed)
    check_feed(feed, fleet.entities.field)
    frameworks, args = batched(), run.args
    optimizer, options = fleet.optimizer
    recipe = frameworks.Recipe(
        args["epochs"], args["learning_rate"], feed.batch_size, feed.seed, feed.shuffle, fleet.loss, optimizer,
        options, args["patience"],
    )  # fmt: skip
    code, script = code_of(fleet.build, run.context.script), run.context.script
    if callable(fleet.loss):
        both = (code["source"], code_of(fleet.loss, script)["source"])
        code = {**code, "source": None if None in both else "+".join(map(str, both))}
    elif code["source"] is not None:
        code = {**code, "source": f"{code['source']}+{fleet.loss}"}
    model = Reference.parse_target(run.context.changes.model or stage.model).name
    return Task(fleet, stage.name, feed, str(fleet.entities.field), model, dict(args), recipe, code)


def train(run: Run, stage: FleetStage) -> FleetReport:
    """Train and store all entities of a fleet; see :meth:`Fleet.train`."""
    begin, task = time.monotonic(), task_of(run, stage)
    run.hub.models.check_writable(f"learn {task.model}")
    entities, note = _entities(run, task)
    batched().first_module(task.make, task.recipe.seed, entity_text(entities[0]))  # refuses layers before any work
    report = FleetReport()
    for number, group in enumerate(groups_of(entities, task.fleet.group)):
        found = _group(run, task, group)
        report = _both(report, found)
        losses = [each["loss"] for each in found.metrics.values()]
        if losses:
            run.log({"loss/train": float(np.mean(losses)), "fleet/stored": float(len(report.versions))}, step=number)
    return replace(report, seconds=time.monotonic() - begin, note=note)


def _both(one: FleetReport, other: FleetReport) -> FleetReport:
    names = ("versions", "metrics", "epochs", "unchanged", "skipped")
    merged: dict[str, Any] = {name: {**getattr(one, name), **getattr(other, name)} for name in names}
    return FleetReport(**merged)


def _entities(run: Run, task: Task) -> tuple[list[Any], str]:
    if run.context.entity is not None:
        return [run.context.entity], ""
    return entities_in(run.hub, task.feed, task.fleet.entities, task.name)


def _group(run: Run, task: Task, values: Sequence[Any]) -> FleetReport:
    begin, hub = time.monotonic(), run.hub
    check_devices(hub, task.feed, task.field, values)
    rows: dict[str, EntityRows] = {}
    skipped: dict[str, str] = {}
    for value, found in read_group(hub, task.feed, task.field, values):
        if isinstance(found, str):
            skipped[entity_text(value)] = found
        else:
            rows[found.text] = found
    unchanged = {} if task.args["again"] else _unchanged(run, task, rows)
    wanted = [each for text, each in rows.items() if text not in unchanged]
    learned = learn_group(task, wanted, run.device, run.context.progress.rows)
    for each in learned:
        if not math.isfinite(each.losses[-1]):
            skipped[each.name] = f"its loss became {each.losses[-1]} in epoch {len(each.losses)}; nothing was saved"
    sound = [each for each in learned if each.name not in skipped]
    if not sound:
        return FleetReport(unchanged=unchanged, skipped=skipped)
    share = (time.monotonic() - begin) / len(sound)
    metrics = {each.name: _metrics(task, rows[each.name], each) for each in sound}
    with batched().one_thread():
        saved = hub.models.save_many(_savings(run, task, rows, sound, metrics, share))
    versions = {str(version.entity): version for version in saved}
    if task.fleet.alias is not None:
        moves = [(version.ref, task.fleet.alias) for version in saved]
        hub.models.promote_many(moves, why=f"trained by {task.name}")
    return FleetReport(versions, metrics, {each.name: len(each.losses) for each in sound}, unchanged, skipped)


def learn_group(
    task: Task, rows: Sequence[EntityRows], device: str, told: Callable[[int], None] | None = None
) -> list[Learned]:
    """Train the models of some entities.

    Args:
        task: What with.
        rows: Their rows.
        device: Where.
        told: Called with the rows that passed.
    """
    frameworks = batched()
    members = [
        frameworks.Member(each.text, _given(each.parts["train"]), _given(each.parts["validation"])) for each in rows
    ]
    if not members:
        return []
    learned: list[Learned] = frameworks.train_fleet(
        task.make, members, task.recipe, device=device, outputs=bool(task.fleet.metrics),
        told=lambda _, count: told(count) if told else None,
    )  # fmt: skip
    return learned


def _given(part: Mapping[str, Any]) -> dict[str, Any]:
    """What the model and the loss are given."""
    return {name: values for name, values in part.items() if name in ("x", "y") or name.startswith("x.")}


def _unchanged(run: Run, task: Task, rows: Mapping[str, EntityRows]) -> dict[str, str]:
    """Entities whose latest version was trained from the same rows by the same code with the same arguments."""
    found = run.hub.models.query(
        [
            {"$match": {"name": task.model, "entity": {"$in": list(rows)}}},
            {"$sort": {"number": -1}},
            {"$group": {"_id": "$entity", "number": {"$first": "$number"}, "key": {"$first": "$learner.fleet.key"}}},
        ]
    )
    return {
        each["_id"]: f"{task.model}[{each['_id']}]@{each['number']}"
        for each in found
        if each.get("key") is not None and each["key"] == task.key(rows[each["_id"]])
    }


def _metrics(task: Task, rows: EntityRows, learned: Learned) -> dict[str, float]:
    found = {"loss": learned.losses[learned.best]}
    if learned.validation:
        found["validation_loss"] = learned.validation[learned.best]
    if learned.outputs is not None:
        said = rows.unscaled(np.asarray(learned.outputs))
        truth = rows.unscaled(rows.parts["validation"]["y"])
        found |= {name: float(metric(truth, said)) for name, metric in task.fleet.metrics.items()}
    return {name: value for name, value in found.items() if not math.isinf(value)}


def _savings(
    run: Run,
    task: Task,
    rows: Mapping[str, EntityRows],
    learned: Sequence[Learned],
    metrics: Mapping[str, Mapping[str, float]],
    seconds: float,
) -> Iterator[Saving]:
    """One after another, so that they are turned into bytes while others are stored."""
    frameworks = batched()
    plain = frameworks.first_module(task.make, task.recipe.seed, learned[0].name)
    for each in learned:
        own = rows[each.name]
        yield Saving(
            frameworks.copies(plain, each.state),
            f"{task.model}[{each.name}]",
            feed=own,
            build=task.fleet.build,
            args=task.building,
            metrics=metrics[each.name],
            learner=_learner(run, task, own, each),
            text=task.fleet.text,
            curves=_curves(each),
            seconds=seconds,
        )


def _learner(run: Run, task: Task, rows: EntityRows, learned: Learned) -> dict[str, Any]:
    script = run.context.script
    return {
        "function": task.name,
        "script": None if script is None else str(script.resolve()),
        "args": {name: value for name, value in task.args.items() if name != "again"},
        "seed": task.recipe.seed,
        "epochs": len(learned.losses),
        "yielded": 0,
        **asked_of(rows.value, run.context.changes),
        "fleet": {"key": task.key(rows), "best": learned.best},
        **task.code,
    }


def _curves(learned: Learned) -> bytes | None:
    curves = Curves()
    for epoch, loss in enumerate(learned.losses):
        more = {"loss/validation": learned.validation[epoch]} if learned.validation else {}
        curves.add({"loss/train": loss, **more}, epoch)
    return curves.dumped()


def learn_fleet(run: Run, stage: FleetStage) -> tuple[str, dict[str, Any]]:
    """A fleet's job: a line for people, and the numbers behind it.

    Raises:
        FeedError: No entity has rows.
    """
    report = train(run, stage)
    if not report.versions and not report.unchanged:
        raise FeedError(f"{stage.name}: nothing was trained: {report}", "Check the pipeline and the split.")
    brief = [
        {"ref": each.ref, "digest": each.digest, "metrics": dict(each.metrics)} for each in report.versions.values()
    ]
    return str(report), {
        "versions": brief[:_SHOWN],
        "stored": len(brief),
        "unchanged": len(report.unchanged),
        "skipped": dict(list(report.skipped.items())[:_SHOWN]),
    }


_SHOWN = 1000
"""Versions that are told one by one."""
