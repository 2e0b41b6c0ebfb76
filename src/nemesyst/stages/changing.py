"""What a job works on: its stage as declared, with the job's changes, narrowed to its entity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nemesyst.errors import FeedError, nearest
from nemesyst.feed import AsOf, Feed, Split, Window
from nemesyst.models import Reference
from nemesyst.stages.entities import entity_text, narrowed, narrowing_field

if TYPE_CHECKING:
    from nemesyst.stages.declare import Learner, Predictor
    from nemesyst.stages.seams import Changes, JobContext

Made = TypeVar("Made")
_MODELS_OWN = ("inputs", "targets", "window", "scale", "join", "missing", "map", "weight")
"""Fields of a predictor's feed that belong to its model."""


def changed_feed(feed: Feed, change: Mapping[str, Any] | str | None) -> Feed:
    """A feed with some fields changed, or of another collection.

    Args:
        feed: As declared.
        change: Fields as plain values (``window`` and ``split`` as tables), or a collection.

    Raises:
        FeedError: There is no such field, or a value does not fit.
    """
    if change is None:
        return feed
    if isinstance(change, str):
        return feed.with_(collection=change)
    if not isinstance(change, Mapping):
        raise FeedError(f"feed={change!r:.80}", "Give a collection, or a table of a feed's fields.")
    known = [name for name in Feed.__dataclass_fields__ if name != "map"]
    for name in change:
        if name not in known:
            raise FeedError(f"feed: there is no {name!r}", nearest(str(name), known))
    made = {name: _MAKE.get(name, _same)(value) for name, value in change.items()}
    if "params" in made and "pipeline" not in made:
        made["params"] = {**(feed.params or {}), **made["params"]}
    return feed.with_(**made)


def learner_feed(stage: Learner, context: JobContext) -> Feed:
    """The feed of a learner's job."""
    feed = changed_feed(stage.feed, context.changes.feed)
    if context.entity is None:
        return feed
    field = context.changes.by or narrowing_field(stage.entities, feed)
    return narrowed(feed, field, context.entity)


def learner_model(stage: Learner, context: JobContext) -> str:
    """Name, with the entity, that a learner's job stores under."""
    model = context.changes.model or stage.model
    return model if context.entity is None else f"{Reference.parse_target(model).name}[{entity_text(context.entity)}]"


def predictor_feed(stage: Predictor, recorded: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The feed of a predictor's job: the one that its model brings, over the rows that the job says.

    Raises:
        FeedError: A change does not fit, or is about what belongs to the model.
    """
    plain = {**recorded, "targets": None, "shuffle": False, "weight": None}
    if changes.feed is None:
        return plain
    check_predictor_feed(changes.feed)
    feed = Feed.from_dict({name: value for name, value in plain.items() if name != "prepared"})
    try:
        made = changed_feed(feed, changes.feed).as_dict()
    except FeedError as error:
        raise FeedError(f"{stage.name}: {error.message}", error.remedy) from None
    return made if recorded.get("prepared") is None else {**made, "prepared": recorded["prepared"]}


def check_predictor_feed(change: Mapping[str, Any] | str) -> None:
    """Refuse changes of a predictor's feed that its model would not fit.

    Raises:
        FeedError: There is one.
    """
    for name in change if isinstance(change, Mapping) else ():
        if name in _MODELS_OWN:
            raise FeedError(
                f"feed: {name} of a predictor's feed is its model's own", "Change collection, pipeline or params."
            )


def _same(value: Any) -> Any:
    return value


def _window(value: Any) -> Window | None:
    return value if value is None or isinstance(value, Window) else _called(Window.from_dict, value, "window")


def _split(value: Any) -> Split | None:
    if value is None or isinstance(value, Split):
        return value
    return _called(lambda fields: Split(**fields), value, "split")


def _joins(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return value
    return [each if isinstance(each, AsOf) else _called(lambda f: AsOf(**f), each, "join") for each in value]


def _called(make: Callable[[Any], Made], value: Any, name: str) -> Made:
    if not isinstance(value, Mapping):
        raise FeedError(f"feed: {name}={value!r:.80} is no table", f"Write {name} = {{ ... }}.")
    try:
        return make(value)
    except TypeError as error:
        raise FeedError(
            f"feed: {name}: {str(error).split('__init__() ')[-1]}", f"See help(nemesyst.{name.title()})."
        ) from None


_MAKE: Mapping[str, Callable[[Any], Any]] = {"window": _window, "split": _split, "join": _joins}
