"""The rows of a group of entities, taken apart: each entity's own parts, scale, digest and lineage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.errors import FeedError, ScriptError
from nemesyst.feed import Feed, Scaler, collector
from nemesyst.stages.entities import entity_text, narrowed
from nemesyst.stages.fleets.feed import group_feed, parted, rows_feed

if TYPE_CHECKING:
    from nemesyst.feed import BoundFeed
    from nemesyst.hub import Hub

    Array = np.ndarray[Any, Any]
    Batch = dict[str, Array]

_PARTS = ("train", "validation")
_SHOWN = 8


@dataclass(frozen=True)
class EntityRows:
    """What an entity's model learns from; stands for its feed when the model is saved.

    Attributes:
        value: The entity, as the database has it.
        spec: The feed narrowed to it.
        parts: Arrays of the train and the validation part, scaled.
        scaler: How; None: they are not.
        digest: Of the arrays before that.
        source: Lineage of the group that they were read with.
    """

    value: Any
    spec: Feed
    parts: Mapping[str, Batch]
    scaler: Scaler | None
    digest: str
    source: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What the entity is called in a model's name."""
        return entity_text(self.value)

    @property
    def rows(self) -> dict[str, int]:
        """Samples of each part."""
        return {name: len(part["y"]) for name, part in self.parts.items() if part}

    def recorded(self) -> dict[str, Any]:
        """As of a feed: specification and statistics."""
        prepared = {"scale": None if self.scaler is None else self.scaler.as_dict(), "classes": None}
        more = {} if self.scaler is None else {"prepared": {**prepared, "categories": None}}
        return {**self.spec.as_dict(), **more}

    def lineage(self) -> dict[str, Any]:
        """As of a feed: where the rows come from; the digest is that of the entity's own."""
        kept = ("database", "collections", "as_of", "plan", "server", "changed")
        return {
            "specification": self.spec.as_dict(),
            "fingerprint": self.spec.fingerprint,
            "digest": self.digest,
            "rows": self.rows,
            "scale": None if self.scaler is None else self.scaler.as_dict(),
            "classes": None,
            **{name: self.source[name] for name in kept if name in self.source},
            "group": {name: self.source.get(name) for name in ("fingerprint", "digest", "rows")},
        }

    def first(self, rows: int = _SHOWN) -> Batch:
        """As of a feed: the first samples of the train part, scaled."""
        return {name: values[:rows] for name, values in self.parts["train"].items()}

    def unscaled(self, values: Array) -> Array:
        """Targets, or what a model gives for the validation part, in their own units."""
        truth = self.parts["validation"]["y"]
        shaped = values.reshape(truth.shape) if values.size == truth.size else values
        found: Array = shaped if self.scaler is None else self.scaler.unscale(shaped, "y")
        return found


def read_group(
    hub: Hub, feed: Feed, field: str, values: Sequence[Any], *, as_of: Any = None
) -> Iterator[tuple[Any, EntityRows | str]]:
    """The rows of some entities, read together.

    Args:
        hub: The hub.
        feed: Of all entities.
        field: Field whose value is the entity.
        values: The entities.
        as_of: The cutoff; None: now.

    Yields:
        Each entity with its rows, or with why it has none.

    Raises:
        FeedError: As in ``hub.feed``; texts among inputs and targets, whose codes would be the group's.
    """
    bound = hub.feed(group_feed(feed, field, values), as_of=as_of)
    parts = {name: _apart(getattr(bound, name), len(values), field) for name in _PARTS}
    statistics = None if feed.scale is None else _statistics(bound, parts["train"], feed, len(values), field)
    if bound.recorded().get("prepared"):
        raise FeedError(
            f"fleet: inputs or targets of {feed.collection} hold texts, whose codes would be those of all entities",
            "Turn them into numbers in the pipeline, or train each model alone: @nm.learner(..., entities=...).",
        )
    source = bound.lineage()
    for number, value in enumerate(values):
        own = {name: parts[name].get(number, {}) for name in _PARTS}
        if not own["train"]:
            yield value, _why_none(feed, own)
            continue
        digest, scaler = _digest(own), None if statistics is None else statistics[number]
        if scaler is not None:
            own = {name: scaler.apply(part) if part else {} for name, part in own.items()}
        yield value, EntityRows(value, narrowed(feed, field, value), own, scaler, digest, source)


def _why_none(feed: Feed, own: Mapping[str, Batch]) -> str:
    what = "row" if feed.window is None else "window"
    if own["validation"]:
        return f"all of its {what}s are in the validation part, none in the train part"
    more = "" if feed.window is None else f" of {feed.window.span} steps"
    return f"it has no {what}{more} in the train part"


def _apart(part: BoundFeed, size: int, field: str) -> dict[int, Batch]:
    """The samples of a part by entity, each entity's in the order of the plan."""
    numbers, arrays = [], []
    for batch in part:
        own, found = parted(batch)
        numbers.append(np.rint(own).astype(np.int64))
        arrays.append(found)
    if not numbers:
        return {}
    whose = np.concatenate(numbers)
    if whose.min() < 0:
        raise ScriptError(
            f"fleet: the field {field} holds lists in some documents, so that a row is of several entities",
            "Take them apart ($unwind), or train each model alone: @nm.learner(..., entities=...).",
        )
    order = np.argsort(whose, kind="stable")
    begins = np.searchsorted(whose[order], np.arange(size + 1))
    whole = {name: np.concatenate([each[name] for each in arrays])[order] for name in arrays[0]}
    return {
        number: {name: values[begin:end] for name, values in whole.items()}
        for number, (begin, end) in enumerate(pairwise(begins.tolist()))
        if begin < end
    }


def _statistics(bound: BoundFeed, train: Mapping[int, Batch], feed: Feed, size: int, field: str) -> dict[int, Scaler]:
    """The scale of each entity, of its own rows of the train part; by the feed's own formulas."""
    rows = train
    if feed.window is not None:  # a window's rows stand in several windows, or in none
        rows = _apart(bound.alike(rows_feed(bound.spec)).train, size, field)
    return {number: _scaler(feed, own) for number, own in rows.items()}


def _scaler(feed: Feed, own: Batch) -> Scaler:
    fields: dict[str, tuple[str, ...]] = {"y": tuple(feed.targets or ())}
    given = feed.inputs or ()
    fields |= (
        {f"x.{name}": tuple(each) for name, each in given.items()}
        if isinstance(given, Mapping)
        else {"x": tuple(given)}
    )
    if feed.window is not None:
        fields["known"] = tuple(feed.window.known)
    found = {}
    for name, values in own.items():
        if values.dtype.kind not in "biuf" or (name == "y" and values.dtype.kind in "iu" and values.ndim == 1):
            continue
        taken = collector(feed.scale, fields[name])  # type: ignore[arg-type]  # there is one
        taken.add(values)
        found[name] = taken.statistics(feed.scale)  # type: ignore[arg-type]
    return Scaler(found)


def _digest(parts: Mapping[str, Batch]) -> str:
    hasher = xxhash.xxh3_128()
    for part, arrays in parts.items():
        for name, values in sorted(arrays.items()):
            hasher.update(f"{part} {name} {values.dtype.str} {values.shape};".encode())
            hasher.update(np.ascontiguousarray(values).view(np.uint8).data if values.size else b"")
    return str(hasher.hexdigest())
