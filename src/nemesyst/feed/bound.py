"""A feed bound to a database: batches of rows, in parts, for any framework."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xxhash
from bson import encode

from nemesyst.database import Connection, check_pipeline, estimated_rows, translated
from nemesyst.errors import FeedError, FieldError, nearest
from nemesyst.feed.columns import batch_of
from nemesyst.feed.pipeline import keeps_order
from nemesyst.feed.spec import PARTS, Feed, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from torch.utils.data import IterableDataset

    from nemesyst.types import Batch

Document = dict[str, Any]
_BLOCK_ROWS = 8192
"""Rows that are decoded, and shuffled, together; at least 16 batches."""


@dataclass(frozen=True)
class Source:
    """Where a feed reads: a collection, and the stages with every parameter put in."""

    connection: Connection
    database: str
    spec: Feed
    stages: Sequence[Mapping[str, Any]]

    def documents(self, part: str | None) -> Iterator[Document]:
        """The documents that the pipeline yields, in a repeatable order."""
        doing = f"reading {self.database}.{self.spec.collection}"
        stages = [*self._ordered(), *_match_part(self.spec.split, part)]
        with translated(doing), self._collection.aggregate(stages, batchSize=2000, allowDiskUse=True) as cursor:
            yield from cursor

    def _ordered(self) -> list[Mapping[str, Any]]:
        # By _id, so that each pass gives the same order; the server moves a $match ahead of the sort by itself.
        by_id = {"$sort": {"_id": 1}}
        return [by_id, *self.stages] if keeps_order(self.stages) else [*self.stages, by_id]

    @property
    def _collection(self) -> Any:
        return self.connection.client[self.database][self.spec.collection]

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
        split = self.spec.split or Split()
        names = [*(self.spec.inputs or ()), *(self.spec.targets or ()), *filter(None, (split.by, split.field))]
        with translated(f"reading {self.database}.{self.spec.collection}"):
            first = next(iter(self._collection.aggregate([*self.stages, {"$limit": 1}])), None)
            if first is None:
                return
            for name in names:
                there = [*self.stages, {"$match": {name: {"$exists": True}}}, {"$limit": 1}]
                if name not in first and not list(self._collection.aggregate(there)):
                    raise FieldError(
                        f"feed: no document of {self.spec.collection} has field {name!r}"
                        + (" after the pipeline" if self.stages else ""),
                        nearest(name, [key for key in first if not key.startswith("_")]),
                    )


def _match_part(split: Split | None, part: str | None) -> list[Mapping[str, Any]]:
    """What the server can leave out: rows that their field puts into another part.

    A value that names no part stays in, so that it is found and told instead of lost.
    """
    if split is None or split.field is None or part is None:
        return []
    divided = {"validation": split.validation, "test": split.test}.get(part, 1) > 0
    others = [name for name in PARTS if name != part and not (name == "train" and divided)]
    return [{"$match": {split.field: {"$nin": others}}}]


class BoundFeed:
    """Batches of one part of a feed; each iteration is the next epoch.

    Made by ``hub.feed``. ``train``, ``validation`` and ``test`` are feeds of their own; without a split the
    train part is the feed itself.

    Args:
        source: Where to read.
        part: ``"train"``, ``"validation"``, ``"test"``, or None for all rows.
        watch: Called with the number of rows of each batch that is yielded.
    """

    def __init__(self, source: Source, part: str | None = None, watch: Callable[[int], None] | None = None) -> None:
        self.spec = source.spec
        self.part = part
        self.epoch = 0
        self._source = source
        self._watch = watch
        self._layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._parts: dict[str, Self] = {}
        self._rows: int | None = None

    def __repr__(self) -> str:
        return f"<feed of {self.spec.collection}{'' if self.part is None else ' ' + self.part}, epoch {self.epoch}>"

    @property
    def train(self) -> Self:
        """The train part; the feed itself when there is no split."""
        return self if self.spec.split is None else self._of("train")

    @property
    def validation(self) -> Self:
        """The validation part; empty when there is no split."""
        return self._of("validation")

    @property
    def test(self) -> Self:
        """The test part; empty when there is no split."""
        return self._of("test")

    def _of(self, part: str) -> Self:
        if part not in self._parts:  # one object for each part: it counts its epochs
            self._parts[part] = type(self)(self._source, part, self._watch if part == "train" else None)
        return self._parts[part]

    def lineage(self) -> dict[str, Any]:
        """Where the rows come from, as JSON values: specification, fingerprint, and rows of each part that was read."""
        feeds: dict[str, BoundFeed] = {self.part or "all": self, **self._parts}
        return {
            "specification": self.spec.as_dict(),
            "fingerprint": self.spec.fingerprint,
            "rows": {name: feed._rows for name, feed in feeds.items() if feed._rows is not None},  # noqa: SLF001 - feeds of the same kind
        }

    def watched(self, watch: Callable[[int], None]) -> Self:
        """The same feed, telling ``watch`` the rows of each batch; of its parts only the train part does."""
        return type(self)(self._source, self.part, watch)

    def __iter__(self) -> Iterator[Batch]:
        for _, batch in self.with_ids():
            yield batch

    def with_ids(self) -> Iterator[tuple[list[Any], Batch]]:
        """Batches, each with the ``_id`` of its rows; one epoch.

        Raises:
            FieldError: A field is missing, or its values cannot be stacked.
        """
        epoch, self.epoch = self.epoch, self.epoch + 1
        rows = 0
        for number, documents in enumerate(self._blocks()):
            rows += len(documents)
            order = self._order(len(documents), epoch, number)
            arrays = self._steady(batch_of(documents, self.spec.inputs or (), self.spec.targets or ()))
            ids = [documents[i].get("_id") for i in order]
            if self.spec.shuffle:
                arrays = {name: values[order] for name, values in arrays.items()}
            for start in range(0, len(documents), self.spec.batch_size):
                here = slice(start, start + self.spec.batch_size)
                batch = {name: values[here] for name, values in arrays.items()}
                if self._watch is not None:
                    self._watch(len(ids[here]))
                yield ids[here], batch
        self._rows = rows

    def _blocks(self) -> Iterator[list[Document]]:
        batches = max(16, _BLOCK_ROWS // self.spec.batch_size)
        size = batches * self.spec.batch_size  # whole batches, so that only the last one of the epoch is short
        block: list[Document] = []
        for document in self._documents():
            block.append(document)
            if len(block) == size:
                yield block
                block = []
        if block:
            yield block

    def _documents(self) -> Iterator[Document]:
        split = self.spec.split
        if split is None:
            return iter(()) if self.part in ("validation", "test") else self._source.documents(self.part)
        documents = self._source.documents(self.part)
        return (d for d in documents if self.part is None or part_of(d, split) == self.part)

    def _order(self, rows: int, epoch: int, block: int) -> Any:
        if not self.spec.shuffle:
            return range(rows)
        return np.random.default_rng([self.spec.seed, epoch, block]).permutation(rows)

    def _steady(self, arrays: Batch) -> Batch:
        """Keep dtype and shape of each array the same over all batches of the feed."""
        for name, values in arrays.items():
            dtype, shape = self._layout.setdefault(name, (values.dtype, values.shape[1:]))
            if values.dtype.kind == "U" and dtype.kind == "U":
                continue
            if values.dtype.kind in "iu" and dtype == np.float32 and shape == (1,) and values.ndim == 1:
                arrays[name] = values.astype(np.float32)[:, None]  # a float target that is whole in this block
            elif (values.dtype, values.shape[1:]) != (dtype, shape):
                if values.shape[1:] == shape and np.can_cast(values.dtype, dtype, "safe"):
                    arrays[name] = values.astype(dtype)
                    continue
                raise FieldError(
                    f"feed of {self.spec.collection}: {name} was {dtype} of shape (rows, *{shape}) so far and is now "
                    f"{values.dtype} of shape (rows, *{values.shape[1:]})",
                    "Bring the rows to one type in the pipeline ($toDouble, $toInt), or leave some out with $match.",
                )
        return arrays

    def to_numpy(self) -> Batch:
        """All rows at once, as one batch; memory grows with the rows.

        Raises:
            FeedError: There are no rows.
        """
        batches = list(self)
        if not batches:
            raise FeedError(f"{self!r} has no rows", "Check the pipeline and the split, or put rows in first.")
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def to_torch(self, device: str | None = None) -> IterableDataset[dict[str, torch.Tensor]]:
        """A PyTorch ``IterableDataset`` of whole batches; tensors share memory with the arrays on the CPU.

        For a ``DataLoader`` give ``batch_size=None`` and no workers: a client does not survive a fork.
        """
        from nemesyst.frameworks import torch_dataset

        return torch_dataset(self, device)

    def estimate(self) -> int | None:
        """About how many rows an epoch has: those of the last one, else by the server's counters; None if unknown."""
        if self._rows is not None:
            return self._rows
        source, split = self._source, self.spec.split
        if any("$match" in stage or "$unwind" in stage for stage in source.stages) or not keeps_order(source.stages):
            return None
        count = partial(estimated_rows, source.connection, source.database, self.spec.collection)
        if split is None or self.part is None:
            return count()
        shares = {"validation": split.validation, "test": split.test}
        shares["train"] = 1 - sum(shares.values())
        if split.field is None:
            return round((count() or 0) * shares[self.part])
        named, divided = count({split.field: self.part}), count({split.field: "train"})
        if named is None or divided is None:
            return None
        return round(divided * shares[self.part]) + (0 if self.part == "train" else named)


def part_of(document: Mapping[str, Any], split: Split) -> str:
    """The part that a document belongs to: by its field, else by the hash of its key.

    Raises:
        FieldError: The document has no such field, or it names no part.
    """
    if split.field is not None:
        named = document.get(split.field)
        if named not in PARTS:
            raise FieldError(
                f"split: field {split.field} of document {document.get('_id')!r} is {named!r}",
                f"It must be one of {', '.join(PARTS)}.",
            )
        if named != "train":
            return str(named)
    by = split.by or "_id"
    if by not in document:
        raise FieldError(f"split: a document has no field {by!r}", "Keep it in the pipeline, or name another: by=...")
    share = xxhash.xxh3_64_intdigest(encode({"": document[by]})) / 2**64
    if share < split.test:
        return "test"
    return "validation" if share < split.test + split.validation else "train"


def bind(
    connection: Connection,
    database: str,
    spec: Feed,
    *,
    params: Mapping[str, Any] | None = None,
    watch: Callable[[int], None] | None = None,
) -> BoundFeed:
    """Bind a specification to a database, having checked what can be checked without reading the rows.

    Raises:
        FeedError: No such collection, a pipeline that the server refuses, a field that no document has.
    """
    source = Source(connection, database, spec, spec.stages(params))
    source.check()
    return BoundFeed(source, None, watch)
