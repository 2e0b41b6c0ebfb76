"""Where a feed reads: a collection, and a pipeline with its parameters put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.database import RawReader, check_pipeline, estimated_rows, translated
from nemesyst.errors import FeedError, FieldError, nearest
from nemesyst.feed.assemble import present
from nemesyst.feed.parts import PARTS, parts
from nemesyst.feed.pipeline import keeps_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from nemesyst.database import Connection
    from nemesyst.feed.decode import Columns, Decoder
    from nemesyst.feed.spec import Feed, Split

BY_ID = {"_id": 1}
_AHEAD = 1
"""Replies that are read while one is decoded."""


@dataclass(frozen=True)
class Source:
    """A collection of a database, read as a specification says.

    Attributes:
        connection: The server.
        database: Name of the database.
        spec: The specification.
        stages: Its pipeline with every parameter put in.
    """

    connection: Connection
    database: str
    spec: Feed
    stages: Sequence[Mapping[str, Any]]

    def columns(self, part: str | None) -> Iterator[tuple[Columns, np.ndarray[Any, Any] | None]]:
        """The rows of the pipeline, always in the same order, as columns; with the rows of the part (None: all).

        Raises:
            FieldError: The split's fields are missing, or name no part.
            DatabaseError: The database cannot be read.
        """
        from nemesyst.feed.decode import Decoder  # here: whoever does not read need not import it

        split = self.spec.split
        names = self._names()
        decoder = Decoder(names)
        # a feed of all top-level fields may lack a dotted one
        keys = None if split is None or part is None else _Keys(split, None if names else Decoder(key_names(split)))
        with self._reader(part) as reader:
            for raw in reader:
                columns = decoder.decode(raw)
                rows = None if keys is None else keys.parts(raw, columns) == PARTS.index(str(part))
                yield columns, rows

    def _reader(self, part: str | None) -> RawReader:
        # By _id, so that each pass gives the same order; the server moves a $match ahead of the sort by itself.
        matched = _match_part(self.spec.split, part)
        if not self.stages and not matched:
            command: dict[str, Any] = {"find": {"filter": {}, "sort": BY_ID}}
        elif keeps_order(self.stages):
            command = {"stages": [{"$sort": BY_ID}, *self.stages, *matched]}
        else:
            command = {"stages": [*self.stages, {"$sort": BY_ID}, *matched]}
        options = {"allowDiskUse": True}
        return RawReader(self.connection, self.database, self.spec.collection, **command, options=options, ahead=_AHEAD)

    def _names(self) -> list[str] | None:
        """Fields to decode; None for all of them."""
        asked = [*(self.spec.inputs or ()), *(self.spec.targets or ())]
        if not asked:
            return None
        return [*asked, *(key_names(self.spec.split) if self.spec.split else ())]

    def check(self) -> None:
        """Find out before any work whether the pipeline runs and the fields exist.

        Raises:
            FeedError: There is no such collection.
            PipelineError: The server refuses the pipeline.
            FieldError: No document has a field that is asked for.
        """
        with translated(f"reading {self.database}"):
            known = self.connection.client[self.database].list_collection_names()
        if self.spec.collection not in known:
            shown = [name for name in known if not name.startswith("system.")]
            raise FeedError(
                f"feed: database {self.database} has no collection {self.spec.collection!r}",
                nearest(self.spec.collection, shown),
            )
        check_pipeline(self.connection, self.database, self.spec.collection, self.stages)
        if keeps_order(self.stages):
            self._check_fields()

    def _check_fields(self) -> None:
        split = self.spec.split
        names = [*(self.spec.inputs or ()), *(self.spec.targets or ())]
        names += [name for name in (split.by, split.field) if name] if split else []
        rows = self.connection.client[self.database][self.spec.collection]
        with translated(f"reading {self.database}.{self.spec.collection}"):
            first = next(iter(rows.aggregate([*self.stages, {"$limit": 1}])), None)
            if first is None:
                return
            for name in names:
                there = [*self.stages, {"$match": {name: {"$exists": True}}}, {"$limit": 1}]
                if name not in first and not list(rows.aggregate(there)):
                    raise FieldError(
                        f"feed: no document of {self.spec.collection} has field {name!r}"
                        + (" after the pipeline" if self.stages else ""),
                        nearest(name, [key for key in first if not key.startswith("_")]),
                    )

    def estimate(self, part: str | None) -> int | None:
        """About how many rows a part has (None: all), from the server's counters; None when that is not known."""
        if any("$match" in stage or "$unwind" in stage for stage in self.stages) or not keeps_order(self.stages):
            return None
        split = self.spec.split
        if split is None or part is None:
            return self._count()
        shares = {"validation": split.validation, "test": split.test}
        shares["train"] = 1 - sum(shares.values())
        if split.field is None:
            return round((self._count() or 0) * shares[part])
        named, divided = self._count({split.field: part}), self._count({split.field: "train"})
        if named is None or divided is None:
            return None
        return round(divided * shares[part]) + (0 if part == "train" else named)

    def _count(self, query: Mapping[str, Any] | None = None) -> int | None:
        return estimated_rows(self.connection, self.database, self.spec.collection, query)


def _by(split: Split) -> str | None:
    """The field whose hash divides rows; None when no share does."""
    return (split.by or "_id") if split.validation or split.test else None


def key_names(split: Split) -> list[str]:
    """Fields that decide the part of a row."""
    return [name for name in (_by(split), split.field) if name is not None]


class _Keys:
    """What decides the part of a row.

    Args:
        split: The split.
        decoder: A decoder of the split's fields; None: the feed's columns have them.
    """

    def __init__(self, split: Split, decoder: Decoder | None) -> None:
        self._split = split
        self._by = _by(split)
        self._own = decoder

    def parts(self, raw: memoryview, columns: Columns) -> np.ndarray[Any, Any]:
        """The part of each row, as an index into :data:`PARTS`."""
        found = columns if self._own is None else self._own.decode(raw)
        try:
            keys = None if self._by is None else present(found, self._by)
            named = None if self._split.field is None else present(found, self._split.field)
        except FieldError as error:
            raise FieldError(
                f"split: {error.message}", "Keep the field in the pipeline, or split by another."
            ) from None
        return parts(self._split, keys, named, found.rows)


def _match_part(split: Split | None, part: str | None) -> list[Mapping[str, Any]]:
    """What the server can leave out: rows that their field puts into another part.

    A value that names no part stays in, so that it is found and told instead of lost.
    """
    if split is None or split.field is None or part is None:
        return []
    divided = {"validation": split.validation, "test": split.test}.get(part, 1) > 0
    others = [name for name in PARTS if name != part and not (name == "train" and divided)]
    return [{"$match": {split.field: {"$nin": others}}}]
