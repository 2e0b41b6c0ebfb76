"""What a stage's job becomes once its round starts: one for each entity and combination of arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemesyst.database import translated
from nemesyst.errors import FeedError, ScriptError
from nemesyst.feed import Feed, asked_for
from nemesyst.models import Reference
from nemesyst.stages.changing import changed_feed, learner_feed
from nemesyst.stages.declare import Learner, Predictor
from nemesyst.stages.entities import Entities, by_text, entity_text
from nemesyst.stages.grid import combinations
from nemesyst.stages.placing import placement
from nemesyst.stages.seams import Changes, JobContext

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.hub import Hub
    from nemesyst.stages.declare import Stage

MOST = 100_000
"""Entities at most: a field with more values names no devices."""


@dataclass(frozen=True)
class Piece:
    """One of the jobs.

    Attributes:
        entity: The device or site, as the database has it; None: all.
        args: Arguments of its own.
        model: Another model reference, for a predictor.
    """

    entity: Any = None
    args: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    @property
    def label(self) -> str:
        """What tells it from the others, such as ``"[site12] hidden=64"``."""
        entity = [] if self.entity is None else [f"[{entity_text(self.entity)}]"]
        return " ".join([*entity, *(f"{name}={value}" for name, value in self.args.items())])


@dataclass(frozen=True)
class Expansion:
    """All of the jobs.

    Attributes:
        pieces: They, in order.
        note: What a person should know, or empty.
    """

    pieces: Sequence[Piece]
    note: str = ""


def expands(stage: Stage) -> bool:
    """Whether a stage's job stands for others."""
    if isinstance(stage, Learner):
        return stage.entities is not None or stage.grid is not None
    return isinstance(stage, Predictor) and Reference.parse(stage.model).entity == "*"


def expand(hub: Hub, stage: Stage, changes: Changes | None = None) -> Expansion:
    """The jobs that a stage's job stands for.

    Args:
        hub: The hub.
        stage: As declared.
        changes: What the job has otherwise.

    Raises:
        FeedError: There are no entities.
        ScriptError: A value is none, or two are called the same.
    """
    if isinstance(stage, Predictor):
        return _every(hub, stage)
    if not isinstance(stage, Learner):
        return Expansion([Piece()])
    feed, note = changed_feed(stage.feed, None if changes is None else changes.feed), ""
    entities: list[Any] = [None]
    if stage.entities is not None:
        entities, note = entities_in(hub, feed, stage.entities, stage.name)
    return Expansion([Piece(entity, args) for entity in entities for args in combinations(stage.grid)], note)


def entities_in(hub: Hub, feed: Feed, entities: Entities, name: str) -> tuple[list[Any], str]:
    """The entities that there are now, in order; and what a person should know, or nothing.

    Raises:
        FeedError: There are none.
        ScriptError: A value is none, or two are called the same.
    """
    values, missing = _values(hub, feed, entities)
    found = list(by_text(values).values())
    if not found:
        raise FeedError(f"{name}: {_told(feed, entities)} gives no entity", "Check the field's name and the rows.")
    note = f"{name}: rows of {feed.collection} without {entities.field} belong to no entity" if missing else ""
    return found, note


def piece_feed(stage: Learner, changes: Changes, entity: Any) -> Feed:
    """The feed of one of the jobs."""
    return learner_feed(stage, JobContext(entity=entity, changes=changes))


def _every(hub: Hub, stage: Predictor) -> Expansion:
    ref = Reference.parse(stage.model)
    selected: dict[str, Any] = {"number": ref.selector} if isinstance(ref.selector, int) else {"aliases": ref.selector}
    wanted = {"name": ref.name, "entity": {"$ne": None}, **({} if ref.selector == "latest" else selected)}
    found = hub.models.query([{"$match": wanted}, {"$group": {"_id": "$entity"}}, {"$sort": {"_id": 1}}])
    if not found:
        hub.models.get(f"{ref.name}@{ref.selector}")  # raises where there is no such model at all
        raise ScriptError(
            f"{stage.name}: no entity of {ref.name} has a version {ref.selector}", "Learn first, with entities=."
        )
    return Expansion([Piece(each["_id"], model=f"{ref.name}[{each['_id']}]@{ref.selector}") for each in found])


def _values(hub: Hub, feed: Feed, entities: Entities) -> tuple[list[Any], bool]:
    """The values, and whether there are rows without one."""
    if entities.values is not None:
        return list(entities.values), False
    if entities.pipeline is None:
        stages: list[Any] = [*_leading(feed, str(entities.field)), {"$group": {"_id": f"${entities.field}"}}]
    else:
        stages = list(entities.pipeline)
    with translated(f"looking up the entities of {feed.collection}"):
        if not hub.db.list_collection_names(filter={"name": feed.collection}):
            raise FeedError(f"no collection {feed.collection!r} in database {hub.db.name!r}", "Put its rows first.")
        found = [
            row.get("_id")
            for row in hub.db[feed.collection].aggregate([*stages, {"$limit": MOST + 2}], allowDiskUse=True)
        ]
    values = [value for value in found if value is not None]
    if len(values) > MOST:
        raise FeedError(
            f"{_told(feed, entities)} gives more than {MOST:,} entities", "Name a field of devices, sites or customers."
        )
    return values, len(values) < len(found)


def _leading(feed: Feed, name: str) -> list[dict[str, Any]]:
    """The stages of a feed that decide which values a field has, with their parameters."""
    stages: list[Any] = list(feed.pipeline or ())  # type: ignore[arg-type]  # a tuple of stages by now
    leading = stages[: placement(name, stages)[1]]
    asked = set(asked_for(leading))
    params = {name: value for name, value in (feed.params or {}).items() if name in asked}
    return Feed(feed.collection, pipeline=leading, params=params).stages()


def _told(feed: Feed, entities: Entities) -> str:
    if entities.pipeline is not None:
        return f"the pipeline of entities= over {feed.collection}"
    return f"the field {entities.field} of {feed.collection}"
