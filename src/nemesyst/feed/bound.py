"""A feed bound to a database: batches of rows, in parts, for any framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nemesyst.errors import FeedError, FieldError
from nemesyst.feed.assemble import Assembler
from nemesyst.feed.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch
    from torch.utils.data import IterableDataset

    from nemesyst.database import Connection
    from nemesyst.feed.spec import Feed
    from nemesyst.types import Batch

_BLOCK_ROWS = 8192
"""Rows that are shuffled together, if that is more than 16 batches."""


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
        self._assembler = Assembler(self.spec.inputs or (), self.spec.targets or (), self.spec.missing)
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
        for _, batch in self._epoch(with_ids=False):
            yield batch

    def with_ids(self) -> Iterator[tuple[list[Any], Batch]]:
        """Batches, each with the ``_id`` of its rows; one epoch.

        Raises:
            FieldError: A field is missing, or its values cannot be stacked.
        """
        return self._epoch(with_ids=True)

    def _epoch(self, *, with_ids: bool) -> Iterator[tuple[list[Any], Batch]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        rows = 0
        for number, block in enumerate(self._blocks(with_ids=with_ids)):
            ids, arrays = self._shuffled(block, epoch, number) if self.spec.shuffle else block
            length = _rows(arrays)
            rows += length
            for start in range(0, length, self.spec.batch_size):
                here = slice(start, start + self.spec.batch_size)
                if self._watch is not None:
                    self._watch(min(self.spec.batch_size, length - start))
                yield ids[here], {name: values[here] for name, values in arrays.items()}
        self._rows = rows

    def _shuffled(self, block: tuple[list[Any], Batch], epoch: int, number: int) -> tuple[list[Any], Batch]:
        ids, arrays = block
        order = np.random.default_rng([self.spec.seed, epoch, number]).permutation(_rows(arrays))
        return [ids[i] for i in order] if ids else ids, {name: values[order] for name, values in arrays.items()}

    def _blocks(self, *, with_ids: bool) -> Iterator[tuple[list[Any], Batch]]:
        """Rows in blocks of whole batches, so that only the last batch of the epoch is short."""
        size = max(16, _BLOCK_ROWS // self.spec.batch_size) * self.spec.batch_size
        ids: list[Any] = []
        pieces: list[Batch] = []
        rows = 0
        for found, arrays in self._pieces(with_ids=with_ids):
            ids += found
            pieces.append(arrays)
            rows += _rows(arrays)
            while rows >= size:
                whole = _joined(pieces)
                yield ids[:size], {name: values[:size] for name, values in whole.items()}
                ids, pieces, rows = ids[size:], [{name: values[size:] for name, values in whole.items()}], rows - size
        if rows:
            yield ids, _joined(pieces)

    def _pieces(self, *, with_ids: bool) -> Iterator[tuple[list[Any], Batch]]:
        """Rows of this part as they come from the server."""
        if self.spec.split is None and self.part in ("validation", "test"):
            return
        part = None if self.spec.split is None else self.part
        for columns, rows in self._source.columns(part):
            try:
                arrays, kept = self._assembler.arrays(columns)
            except FieldError as error:
                raise FieldError(f"feed of {self.spec.collection}: {error.message}", error.remedy) from None
            if not arrays:
                continue
            ids = columns.ids() if with_ids else []
            mine = rows
            if kept is not None:
                ids, mine = _chosen(ids, kept), None if rows is None else rows[kept]
            if mine is not None:
                ids, arrays = _chosen(ids, mine), {name: values[mine] for name, values in arrays.items()}
            yield ids, arrays

    def to_numpy(self) -> Batch:
        """All rows at once, as one batch; memory grows with the rows.

        Raises:
            FeedError: There are no rows.
        """
        batches = list(self)
        if not batches:
            raise FeedError(f"{self!r} has no rows", "Check the pipeline and the split, or put rows in first.")
        return _joined(batches)

    def to_torch(self, device: str | None = None) -> IterableDataset[dict[str, torch.Tensor]]:
        """A PyTorch ``IterableDataset`` of whole batches; tensors share memory with the arrays on the CPU.

        For a ``DataLoader`` give ``batch_size=None`` and no workers: a client does not survive a fork.
        """
        from nemesyst.frameworks import torch_dataset

        return torch_dataset(self, device)

    def estimate(self) -> int | None:
        """About how many rows an epoch has: those of the last one, else by the server's counters; None if unknown."""
        return self._rows if self._rows is not None else self._source.estimate(self.part)


def _chosen(values: list[Any], rows: Any) -> list[Any]:
    """Those of a list's values whose row is chosen; an empty list stays one."""
    return [value for value, mine in zip(values, rows, strict=False) if mine]


def _rows(arrays: Batch) -> int:
    return len(next(iter(arrays.values())))


def _joined(pieces: list[Batch]) -> Batch:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def bind(connection: Connection, database: str, spec: Feed, *, params: Mapping[str, Any] | None = None) -> BoundFeed:
    """Bind a specification to a database, having checked what can be checked without reading the rows.

    Raises:
        FeedError: No such collection, a pipeline that the server refuses, a field that no document has.
    """
    source = Source(connection, database, spec, spec.stages(params))
    source.check()
    return BoundFeed(source)
