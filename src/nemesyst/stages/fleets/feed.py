"""The feed of a group of entities: one bind for all of them, with a number that tells whose each sample is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemesyst.database import ObjectId
from nemesyst.errors import FeedError, ScriptError
from nemesyst.feed import Feed, looks_at_one
from nemesyst.stages.entities import asks_for_entity
from nemesyst.stages.placing import placement

if TYPE_CHECKING:
    from nemesyst.feed import Window

NUMBER = "fleet_entity"
"""Field with the entity's number in its group; -1 where the field holds several values."""
PLAIN, KNOWN = "fleet_x", "fleet_known"
"""Groups of inputs that are ``x`` and ``known`` in the entity's own feed."""
_READ = 4096
"""Samples of a batch that is only taken apart."""


def check_feed(feed: Feed, field: str | None) -> None:
    """Refuse a feed that gives an entity other rows in a group than by itself, or batches that a fleet cannot make.

    Raises:
        ScriptError: Names what is in the way.
    """
    alone = "Or train each model alone: @nm.learner(..., entities=...)."
    if field is None or asks_for_entity(feed):
        raise ScriptError(
            'fleet: the feed\'s pipeline asks for {"$param": "entity"}, and a fleet reads many entities at once',
            f'Name the field that tells an entity\'s rows: entities={{"site": [...]}}. {alone}',
        )
    stages: list[Any] = list(feed.pipeline or ())  # type: ignore[arg-type]  # a tuple of stages by now
    for stage in stages:
        if not looks_at_one(stage):
            raise ScriptError(
                f"fleet: the stage {next(iter(stage))} of the feed's pipeline looks at several documents, so that an "
                "entity's rows would not be those of its own feed",
                f"Put such rows into a collection first (a wrangler does). {alone}",
            )
    if not feed.inputs or not feed.targets:
        raise ScriptError(
            f"fleet: the feed of {feed.collection} has no {'targets' if feed.inputs else 'inputs'}",
            'Name both: nm.Feed(..., inputs=["air", "power"], targets="air").',
        )
    for name in ("map", "weight"):
        if getattr(feed, name) is not None:
            raise ScriptError(f"fleet: a feed with {name}= cannot be trained as a fleet", f"Leave it out. {alone}")
    if feed.window is not None and feed.window.anchor is not None and not isinstance(feed.window.anchor, str):
        raise ScriptError(
            "fleet: windows around the events of a pipeline cannot be read for many entities at once",
            f"Let anchor= name a field. {alone}",
        )


def group_feed(feed: Feed, field: str, values: Sequence[Any]) -> Feed:
    """The feed of a group, unscaled and in the order of the plan; each sample tells its entity's number.

    Args:
        feed: Of all entities.
        field: Field whose value is the entity.
        values: The group's entities.

    Raises:
        ScriptError: The pipeline drops the number on its way.
    """
    stages: list[Any] = list(feed.pipeline or ())  # type: ignore[arg-type]  # a tuple of stages by now
    place, _ = placement(field, stages)
    rest = [_keeping(stage) for stage in stages[place:]]
    if any("$replaceRoot" in stage or "$replaceWith" in stage for stage in rest):
        raise ScriptError(
            f"fleet: the feed's pipeline replaces its documents by others without the field {field}",
            f"Keep {field} in them, or train each model alone: @nm.learner(..., entities=...).",
        )
    own = [{"$match": {field: {"$in": list(values)}}}, {"$set": {NUMBER: _number(field, values)}}]
    window, split = feed.window, feed.split
    if window is not None and window.by is None:
        window = replace(window, by=field)
        if split is not None and split.shares and split.by is None:
            split = replace(split, by="_id")  # as it is by itself, where no device is named
    changes = {"window": window, "split": split, "inputs": _inputs(feed, window)}
    return feed.with_(pipeline=[*stages[:place], *own, *rest], scale=None, shuffle=False, batch_size=_READ, **changes)


def groups_of(values: Sequence[Any], size: int) -> list[list[Any]]:
    """Entities that are read together: at most so many, and of one kind, as the devices of a window are."""
    kinds: dict[int, list[Any]] = {}
    for value in values:
        kinds.setdefault(_order(value)[0], []).append(value)
    return [own[first : first + size] for own in kinds.values() for first in range(0, len(own), size)]


def rows_feed(group: Feed) -> Feed:
    """The same rows one by one: those that a scale is taken from."""
    inputs = dict(group.inputs)  # type: ignore[arg-type]  # a mapping by now
    known = () if group.window is None else group.window.known
    if "static" in inputs and NUMBER in inputs["static"]:
        inputs["static"] = tuple(name for name in inputs["static"] if name != NUMBER)
    found = {name: fields for name, fields in inputs.items() if fields} | ({KNOWN: tuple(known)} if known else {})
    return group.with_(window=None, inputs={**found, NUMBER: (NUMBER,)})


def parted(batch: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The entities' numbers of a batch, and its arrays under the names that they have in an entity's own feed."""
    own = f"x.{NUMBER}" if f"x.{NUMBER}" in batch else "x.static"
    names = {f"x.{PLAIN}": "x", f"x.{KNOWN}": "known"}
    found = {
        names.get(name, name): values
        for name, values in batch.items()
        if name != own and (name == "y" or name.startswith("x."))
    }
    return batch[own].reshape(len(batch[own]), -1)[:, -1], found


def check_devices(hub: Any, feed: Feed, field: str, values: Sequence[Any]) -> None:
    """Refuse devices that moved from one entity to another: windows of a group would reach across.

    Raises:
        FeedError: Names the first.
    """
    from nemesyst.database import translated

    by = None if feed.window is None else feed.window.by
    if by is None or by == field:
        return
    group = group_feed(feed, field, values)
    counted = [
        *group.stages(),
        {"$group": {"_id": f"${by}", "first": {"$min": f"${NUMBER}"}, "last": {"$max": f"${NUMBER}"}}},
        {"$match": {"$expr": {"$ne": ["$first", "$last"]}}},
        {"$limit": 1},
    ]
    with translated(f"looking up the devices of {feed.collection}"):
        moved = list(hub.db[feed.collection].aggregate(counted, allowDiskUse=True))
    if moved:
        first, last = (values[int(moved[0][name])] for name in ("first", "last"))
        raise FeedError(
            f"fleet: {by} {moved[0]['_id']!r} has rows of {field} {first!r} and of {last!r}, and a window goes along "
            f"one {by}",
            f"Let windows go along {field} (by={field!r}), or train each model alone: @nm.learner(..., entities=...).",
        )


def _inputs(feed: Feed, window: Window | None) -> dict[str, Any]:
    given = feed.inputs
    inputs = dict(given) if isinstance(given, Mapping) else {PLAIN: tuple(given or ())}
    name = NUMBER if window is None or "static" in inputs else "static"
    return {**inputs, name: (NUMBER,)}


def _keeping(stage: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stage that lets the number through."""
    body = stage.get("$project")
    if not isinstance(body, Mapping) or all(each in (0, False) for each in body.values()):
        return stage
    return {"$project": {**body, NUMBER: 1}}


def _number(field: str, values: Sequence[Any]) -> dict[str, Any]:
    """An expression that finds an entity's place among sorted values in a few comparisons."""
    places = sorted(enumerate(values), key=lambda each: _order(each[1]))

    def among(found: Sequence[tuple[int, Any]]) -> dict[str, Any]:
        half = len(found) // 2
        value = {"$literal": found[half][1]}
        if len(found) == 1:
            return {"$cond": [{"$eq": [f"${field}", value]}, found[0][0], -1]}
        return {"$cond": [{"$lt": [f"${field}", value]}, among(found[:half]), among(found[half:])]}

    return among(places)


def _order(value: Any) -> tuple[int, Any]:
    """As the server compares: numbers, texts by their bytes, ids."""
    if isinstance(value, str):
        return 1, value.encode()
    return (2, value.binary) if isinstance(value, ObjectId) else (0, value)
