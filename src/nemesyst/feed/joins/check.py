"""Whether a join can be made, found out before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.database import RawReader, check_pipeline, indexes, translated
from nemesyst.errors import FeedError, FieldError, nearest
from nemesyst.feed.decode import Decoder
from nemesyst.feed.joins.keys import kind_of
from nemesyst.feed.joins.rows import Layout, layout_of
from nemesyst.feed.judging import keeps
from nemesyst.feed.judging.advice import keyed_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database import Connection
    from nemesyst.feed.joins.keys import Array
    from nemesyst.feed.joins.spec import AsOf

_TIMES = ("dates", "numbers")


@dataclass(frozen=True)
class Found:
    """What a join found in the other collection.

    Attributes:
        seek: How rows of a device and time are found: ``"index"``, ``"clustered"``, or None: by reading all of them.
        by_kind: What ``by`` holds there, such as ``"numbers"``; None without ``by``.
        on_kind: ``"dates"`` or ``"numbers"``.
        layouts: Dtype and shape of each field's values.
        hint: The index that would help, as a sentence with the command; None if none is lacking.
    """

    seek: str | None
    by_kind: str | None
    on_kind: str
    layouts: Mapping[str, Layout]
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, to be kept with a plan."""
        layouts = {name: [dtype, list(shape)] for name, (dtype, shape) in self.layouts.items()}
        return {"seek": self.seek, "by_kind": self.by_kind, "on_kind": self.on_kind, "layouts": layouts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Found:
        """Make it of what :meth:`as_dict` gave."""
        layouts = {name: (dtype, tuple(shape)) for name, (dtype, shape) in values["layouts"].items()}
        return cls(values["seek"], values["by_kind"], values["on_kind"], layouts)


def check_join(connection: Connection, database: str, spec: AsOf) -> Found:
    """Check a join against the other collection.

    Args:
        connection: The server.
        database: Name of the database.
        spec: The join, its parameters put in (:meth:`AsOf.filled`).

    Raises:
        FeedError: There is no such collection, or the tolerance does not fit the time.
        PipelineError: The server refuses the pipeline.
        FieldError: No row has a field, or its values cannot be joined by.
    """
    with translated(f"reading {database}"):
        known = connection.client[database].list_collection_names()
    if spec.collection not in known:
        shown = [name for name in known if not name.startswith("system.")]
        raise FeedError(
            f"AsOf: database {database} has no collection {spec.collection!r}", nearest(spec.collection, shown)
        )
    check_pipeline(connection, database, spec.collection, spec.stages)
    values = {name: _first(connection, database, spec, name) for name in dict.fromkeys(_names(spec))}
    by_kind = None if spec.right_by is None else kind_of(values[spec.right_by])
    on_kind = kind_of(values[spec.right_on])
    _check_time(spec, on_kind)
    if by_kind == "arrays":
        raise FieldError(
            f"AsOf {spec.collection}: field {spec.right_by} holds arrays, which cannot be joined by",
            "Join by a field of numbers, texts, dates or ObjectIds.",
        )
    layouts = {name: layout_of(values[name]) for name in spec.renamed}
    seek = _seek(connection, database, spec)
    return Found(seek, by_kind, on_kind, layouts, None if seek else _hint(spec))


def _names(spec: AsOf) -> list[str]:
    return [*([spec.right_by] if spec.right_by else []), spec.right_on, *spec.renamed]


def _first(connection: Connection, database: str, spec: AsOf, name: str) -> Array:
    """The first value that a field has."""
    there = [*spec.stages, {"$match": {name: {"$ne": None}}}, {"$limit": 1}]
    with RawReader(connection, database, spec.collection, stages=there) as reader:
        for batch in reader:
            return Decoder([name]).decode(batch).column(name).values
    with RawReader(connection, database, spec.collection, stages=[*spec.stages, {"$limit": 1}]) as reader:
        known = [each for batch in reader for each in Decoder(None).decode(batch).names]
    after = " after its pipeline" if spec.stages else ""
    if not known:
        raise FeedError(f"AsOf: {spec.collection} has no documents{after}", "Put some in first, or leave the join out.")
    shown = [each for each in known if not each.startswith("_")]
    raise FieldError(f"AsOf: no document of {spec.collection} has field {name!r}{after}", nearest(name, shown))


def _check_time(spec: AsOf, kind: str) -> None:
    if kind not in _TIMES:
        raise FieldError(
            f"AsOf {spec.collection}: field {spec.right_on} holds {kind}, which are no times",
            "Join on a field of dates or numbers; $toDate makes a date of a text.",
        )
    if spec.tolerance in (None, 0):
        return
    if isinstance(spec.tolerance, str) != (kind == "dates"):
        unit = "a number in its own unit, such as 3600" if kind == "numbers" else 'a duration, such as "1h"'
        raise FeedError(
            f"AsOf {spec.collection}: tolerance={spec.tolerance!r} does not fit field {spec.right_on}, "
            f"which holds {kind}",
            f"Give {unit}.",
        )


def _seek(connection: Connection, database: str, spec: AsOf) -> str | None:
    """How the rows of a device and time are found."""
    keys = _keys(spec)
    if not keeps(spec.stages, keys):
        return None
    known = indexes.indexes_of(connection, database, spec.collection)
    for index in known:
        fields = [field for field, _ in index.keys]
        if index.ordered and not index.clustered and fields[: len(keys)] == keys:
            return "index"
    if spec.right_by is not None and keyed_by(connection, database, spec.collection, known, keys):
        return "clustered"
    return None


def _keys(spec: AsOf) -> list[str]:
    return [*([spec.right_by] if spec.right_by else []), spec.right_on]


def _hint(spec: AsOf) -> str:
    keys: Sequence[tuple[str, int]] = [(field, 1) for field in _keys(spec)]
    name = f"db.{spec.collection}" if spec.collection.isidentifier() else f"db.getCollection({spec.collection!r})"
    return (
        f"{spec.collection} has no index on ({', '.join(_keys(spec))}), so that, unless it is small, every chunk reads "
        f"all of it: {name}.createIndex({indexes.shown(tuple(keys))})"
    )
