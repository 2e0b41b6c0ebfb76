"""What a specification is about in a database: a collection, its pipeline, joins and fields, checked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import xxhash

from nemesyst.database import check_pipeline, estimated_rows, kind_of_collection, translated
from nemesyst.errors import FeedError, FieldError, nearest
from nemesyst.feed.fields import Fields, fields_of
from nemesyst.feed.joins import check_join
from nemesyst.feed.judging import judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.feed.binding.place import Place
    from nemesyst.feed.joins import Found
    from nemesyst.feed.judging import Judgement
    from nemesyst.feed.spec import Feed


class Target:
    """A specification and what it is about.

    Args:
        place: The database.
        spec: The specification, its parameters put in.

    Attributes:
        collection: The collection that is read; that of a view, when the specification names one.
        view: The stages of the view.
        series: Field of the time, of a time-series collection.
        stages: The pipeline, that of the view first.
        judgement: What can be pushed down of it.
        clustered: Whether the collection is clustered.
        seen: What the server says of the collection; see ``Cutoff``.
        joins: The joins, their parameters put in.

    Raises:
        FeedError: There is no such collection.
    """

    def __init__(self, place: Place, spec: Feed) -> None:
        self.place, self.spec = place, spec
        self.collection, self.view, self.series = self._resolved(spec.collection)
        self.stages = [*self.view, *spec.stages()]
        self.judgement: Judgement = judge(self.stages)
        self.joins = [join.filled(spec.params or {}) for join in spec.join or ()]  # type: ignore[union-attr]

    @property
    def timeless(self) -> bool:
        """Whether the server knows no cluster time."""
        return self.place.timeless

    def _resolved(self, name: str) -> tuple[str, list[Mapping[str, Any]], str | None]:
        place = self.place
        kind = kind_of_collection(place.connection, place.database, name)
        if kind is None:
            with translated(f"reading {place.database}"):
                known = place.connection.client[place.database].list_collection_names()
            shown = [each for each in known if not each.startswith("system.")]
            raise FeedError(f"feed: database {place.database} has no collection {name!r}", nearest(name, shown))
        self.clustered, self.seen = kind.clustered, kind.seen
        if kind.view_on is None:
            return name, [], kind.time_field
        base, stages, series = self._resolved(kind.view_on)
        return base, [*stages, *kind.pipeline], series

    @cached_property
    def fields(self) -> Fields:
        """Fields of the rows, and what they become."""
        spec = self.spec
        keys = [*(spec.split.names if spec.split else ()), *(spec.window.fields if spec.window else ())]
        keys += [name for join in self.joins for name in (join.left_by, join.left_on) if name is not None]
        return fields_of(spec, list(dict.fromkeys(keys)))

    @cached_property
    def digest(self) -> str:
        """Digest of what decides on rows and their arrays."""
        place = self.place
        joins = [join.as_dict() for join in self.joins]
        text = f"{self.spec.rows_fingerprint(self.stages)}:{place.database}:{self.collection}:{joins!r}"
        return str(xxhash.xxh3_128_hexdigest(text.encode()))

    @property
    def collections(self) -> set[str]:
        """All collections that are read."""
        looked = {name for join in self.joins for name in judge(join.stages).lookups}
        return {self.collection, *self.judgement.lookups, *(join.collection for join in self.joins), *looked}

    def check(self) -> list[Found]:
        """Check pipeline, fields and joins; what was found of each join.

        Raises:
            PipelineError: The server refuses the pipeline.
            FieldError: No document has a field that is asked for.
            FeedError: A join does not fit.
        """
        place = self.place
        if self.stages:
            check_pipeline(place.connection, place.database, self.collection, self.stages)
        if self.judgement.per_document:
            self._check_fields()
        return [check_join(place.connection, place.database, join) for join in self.joins]

    def _check_fields(self) -> None:
        brought = {name for join in self.joins for name in join.names}
        names = [name for name in dict.fromkeys([*self.fields.used, *self.fields.keys]) if name not in brought]
        first = self._one(self.stages)
        both = [name for name in first or () if name in brought]
        if both:
            field = next(name for join in self.joins for name, shown in join.renamed.items() if shown == both[0])
            raise FieldError(
                f"feed of {self.spec.collection}: a join gives {', '.join(both)}, which its own rows have too",
                f'Give another name: fields={{"{field}": "other_{field}"}}, or prefix="other_".',
            )
        for name in names if first is not None else ():
            if name in first or self._one([*self.stages, {"$match": {name: {"$exists": True}}}]) is not None:
                continue
            raise FieldError(
                f"feed: no document of {self.spec.collection} has field {name!r}"
                + (" after the pipeline" if self.stages else ""),
                nearest(name, [key for key in first if not key.startswith("_")]),
            )

    def _one(self, stages: Sequence[Mapping[str, Any]]) -> Any:
        rows = self.place.connection.client[self.place.database][self.collection]
        with translated(f"reading {self.place.database}.{self.collection}"):
            return next(iter(rows.aggregate([*stages, {"$limit": 1}])), None)

    def counted(self) -> int | None:
        """About how many rows there are, from the server's counter; None when that is not known."""
        changing = ("$match", "$unwind", "$redact")
        if not self.judgement.per_document or any(name in stage for stage in self.stages for name in changing):
            return None
        return self.documents()

    def documents(self) -> int | None:
        """About how many documents the collection has."""
        return estimated_rows(self.place.connection, self.place.database, self.collection)
