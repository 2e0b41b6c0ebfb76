"""Entities: one job and one model for each device, site or customer, on its own rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.database import ObjectId
from nemesyst.errors import ScriptError, SettingsError
from nemesyst.feed import Feed, asked_for, load_pipeline
from nemesyst.models import Reference
from nemesyst.stages.placing import placement

if TYPE_CHECKING:
    from collections.abc import Sequence

PARAMETER = "entity"
"""What a pipeline asks for to get the entity's value."""


@dataclass(frozen=True)
class Entities:
    """Which entities there are, and which rows are whose.

    Attributes:
        field: Field whose value is the entity; None: the pipeline asks for ``{"$param": "entity"}``.
        values: They themselves; None: they are looked up.
        pipeline: Stages over the feed's collection whose ``_id`` they are; None: the distinct values of the field.
    """

    field: str | None
    values: tuple[Any, ...] | None = None
    pipeline: tuple[Mapping[str, Any], ...] | None = None


def entities_of(given: Any, feed: Feed) -> Entities:
    """What ``entities=`` says.

    Args:
        given: A field; a list of values; a pipeline (stages, or a ``Path``); or one of the latter two by field:
            ``{"site": ["north", "south"]}``.
        feed: The feed that is narrowed to each.

    Raises:
        ScriptError: It is none of these, names an entity twice, or does not say which rows are an entity's.
    """
    if isinstance(given, Mapping):
        if len(given) != 1 or not isinstance(next(iter(given)), str):
            raise ScriptError(f"entities={given!r:.80}", 'One field and its values: {"site": ["north", "south"]}.')
        ((field, values),) = given.items()
        return _listed(_field(field), values)
    if isinstance(given, str):
        return Entities(_field(given))
    listed = _listed(None, given)
    return replace(listed, field=_own_field(given, feed))


def narrowed(feed: Feed, field: str | None, entity: Any) -> Feed:
    """A feed with the rows of one entity alone; its parts and its scale are then its own.

    Args:
        feed: The feed of all.
        field: Field whose value is the entity; None: the feed's pipeline asks for it.
        entity: The value, as the database has it.
    """
    asks = asks_for_entity(feed)
    params = {**(feed.params or {}), PARAMETER: entity} if asks else feed.params
    if field is None:
        return feed.with_(params=params)
    stages: list[Any] = list(feed.pipeline or ())  # type: ignore[arg-type]  # a tuple of stages by now
    place, _ = placement(field, stages)
    return feed.with_(pipeline=[*stages[:place], {"$match": {field: entity}}, *stages[place:]], params=params)


def narrowing_field(entities: Entities | None, feed: Feed) -> str | None:
    """The field that tells an entity's rows; None: the pipeline asks for the entity.

    Raises:
        ScriptError: Nothing tells it.
    """
    return entities.field if entities is not None else _own_field("", feed)


def asks_for_entity(feed: Feed) -> bool:
    """Whether a feed's stages ask for ``{"$param": "entity"}``."""
    anchor = None if feed.window is None else feed.window.anchor
    pipelines = (feed.pipeline, anchor, *(join.stages for join in feed.join or ()))  # type: ignore[union-attr]  # a tuple by now
    return any(PARAMETER in asked_for(stages) for stages in pipelines)


def entity_text(value: Any) -> str:
    """What an entity is called in a model's name: ``air[12]``.

    Raises:
        ScriptError: It is no text, number or ObjectId, or its text cannot stand in a model's name.

    >>> entity_text(12.0)
    '12'
    """
    text = _text(value)
    try:
        if text is None or Reference.parse_target(f"x[{text}]").entity != text:
            raise ScriptError(
                f"{value!r:.100} is no entity", "It is a text or a number; let a pipeline make one of it (its _id)."
            )
    except SettingsError:
        raise ScriptError(
            f"{value!r:.100} cannot name an entity's model",
            "1 to 200 characters, no brackets, no line breaks; let a pipeline make other ones (its _id).",
        ) from None
    return text


def by_text(values: Iterable[Any]) -> dict[str, Any]:
    """Entities by their text, numbers first, in order.

    Raises:
        ScriptError: Two are called the same, or one is no entity.
    """
    found: dict[str, Any] = {}
    for value in values:
        text = entity_text(value)
        if text in found:
            raise ScriptError(
                f"entities {found[text]!r} and {value!r} are both called [{text}]",
                "Their models could not be told apart: give the field one type in the database.",
            )
        found[text] = value
    return dict(sorted(found.items(), key=_order))


def _order(item: tuple[str, Any]) -> tuple[bool, float, str]:
    text, value = item
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, text)


def _text(value: Any) -> str | None:
    if isinstance(value, str | ObjectId):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if value == int(value) and abs(value) < 1 << 63:  # MongoDB takes 12 and 12.0 for the same
        return str(int(value))
    text = repr(float(value))
    return None if "e" in text else text


def _field(name: str) -> str:
    if not name or name.startswith("$"):
        raise ScriptError(f"entities={name!r} is no field", 'Name it without a dollar: entities="site".')
    return name


def _own_field(given: Any, feed: Feed) -> str | None:
    """The field for entities that come without one: none if the pipeline asks for them, else the window's device."""
    if asks_for_entity(feed):
        return None
    if feed.window is not None and feed.window.by is not None:
        return feed.window.by
    raise ScriptError(
        f"entities={given!r:.80}: it is not known which rows of {feed.collection} are an entity's",
        'Name the field, entities={"site": [...]}; or let the feed\'s pipeline ask for {"$param": "entity"}.',
    )


def _listed(field: str | None, given: Any) -> Entities:
    if isinstance(given, Path):
        return Entities(field, pipeline=load_pipeline(given))
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ScriptError(
            f"entities={given!r:.80}", 'Give a field ("site"), a list of values, or a pipeline whose _ids they are.'
        )
    values: Sequence[Any] = tuple(given)
    if not values:
        raise ScriptError("entities=[] names none", "Give a field, values, or a pipeline whose _ids they are.")
    if all(isinstance(value, Mapping) for value in values):
        return Entities(field, pipeline=load_pipeline(list(values), "entities"))
    values = tuple(value.item() if hasattr(value, "item") else value for value in values)  # NumPy's numbers
    by_text(values)
    return Entities(field, values=values)
