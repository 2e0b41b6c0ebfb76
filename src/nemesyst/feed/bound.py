"""A feed bound to a database: batches of rows or windows, in parts, for any framework."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from nemesyst.errors import DatabaseError, FeedError
from nemesyst.feed.split import PARTS
from nemesyst.feed.table import ID
from nemesyst.feed.windows.names import mask_of, masked, steps_of
from nemesyst.frameworks import Conversions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np

    from nemesyst.database import Changes
    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.binding.family import Family
    from nemesyst.feed.decode import Columns
    from nemesyst.feed.order import Leg
    from nemesyst.feed.recipe import Recipe
    from nemesyst.feed.source import Identify
    from nemesyst.feed.spec import Feed
    from nemesyst.frameworks import Layout
    from nemesyst.types import Batch

    Array = np.ndarray[Any, Any]
    Ids = Mapping[str | None, Array] | list[Any]

_Batch = TypeVar("_Batch")

_AHEAD_CHUNKS = 6
"""Chunks that may wait to be used."""


class BoundFeed(Conversions):
    """Batches of one part of a feed; each iteration is the next epoch.

    Made by ``hub.feed``. ``train``, ``validation`` and ``test`` are feeds of their own; without a split the
    train part is the feed itself.

    Args:
        family: What all parts share.
        part: ``"train"``, ``"validation"``, ``"test"``, or None for all rows.
        watch: Called with the number of rows of each batch that is yielded.
        turn: Number of this worker and how many there are: which batches it gives.
    """

    def __init__(
        self,
        family: Family,
        part: str | None = None,
        watch: Callable[[int], None] | None = None,
        turn: tuple[int, int] = (0, 1),
    ) -> None:
        self.part = part
        self._family = family
        self._watch = watch
        self._turn = turn

    @property
    def spec(self) -> Any:
        """The specification."""
        return self._family.binding.spec

    @property
    def epoch(self) -> int:
        """Number of the next epoch, from 0; that of the interrupted one after :meth:`load_state_dict`."""
        return self._family.place(self.part).epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise FeedError(f"feed.epoch = {epoch!r}", "Give the number of an epoch, 0 or more.")
        self._family.place(self.part).load({"epoch": epoch, "legs": []})

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
        return type(self)(self._family, part, self._watch if part == "train" else None)

    @property
    def rows(self) -> dict[str, int]:
        """Rows (or windows) of each part that this process has gone through, as in the last whole epoch."""
        return self._family.rows

    def went_through(self, rows: Mapping[str, int]) -> None:
        """Take over what all ranks together have gone through, for the record of a model that they trained."""
        self._family.went_through(rows)

    def watched(self, watch: Callable[[int], None]) -> Self:
        """The same feed, telling ``watch`` the rows of each batch; of its parts only the train part does."""
        return type(self)(self._family, self.part, watch)

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch()

    def with_ids(self) -> Iterator[tuple[list[Any], Batch]]:
        """Batches, each with the ``_id`` of its rows (of a window: of its last input step); one epoch.

        Raises:
            FieldError: A field is missing, or its values cannot be stacked.
        """
        from nemesyst.feed.source import objects_of

        if self.spec.window is not None and self.spec.window.every is not None:
            raise FeedError("with_ids: a step of a regular grid is no document", "Leave every= out.")
        for batch in self._epoch(objects_of):
            yield batch.pop(ID).tolist(), batch

    def identified(self, identify: Callable[[Ids], Array]) -> Iterator[tuple[Array, Batch]]:
        """Batches, each with what is made of the ``_id`` of its rows; one epoch. As a rule without an object per row.

        Args:
            identify: Makes an array of shape (rows, ...) out of ids, from several threads: arrays by the fields of the
                ``_id`` (under None where it is no document), or a list where those are of different kinds.
        """
        from nemesyst.feed.decode import id_arrays

        def made(columns: Columns) -> Array:
            found = id_arrays(columns)
            return identify(columns.ids() if found is None else found)

        for batch in self._epoch(made):
            yield batch.pop(ID), batch

    def _epoch(self, ids: Identify | None = None) -> Iterator[Batch]:
        place = self._family.place(self.part)
        epoch, legs = place.begin()
        binding = self._family.binding
        if self.part not in (None, "train") and binding.spec.split is None:
            return
        for step, batch in self._run(binding, epoch, legs, ids):
            place.at(epoch, legs, binding.shard, step + 1, _rows(batch))
            if self._watch is not None:
                self._watch(_rows(batch))
            yield batch
        place.end(epoch, legs)
        with suppress(DatabaseError):  # an epoch out of the cache needs no server
            binding.save(lasting=False)

    def _run(
        self, binding: Binding, epoch: int, legs: tuple[Leg, ...], ids: Identify | None
    ) -> Iterator[tuple[int, Batch]]:
        from nemesyst.feed.binding.length import check_even
        from nemesyst.feed.epoch import cut, opened

        part = None if self.part is None or binding.spec.split is None else PARTS.index(self.part)
        shard = binding.shard
        prepared = binding.prepared
        if shard.even and not legs:
            check_even(binding, part)
        order = binding.order(epoch, part)
        blocks, sizes = order.run(shard, legs, strict=bool(legs))
        stream = opened(binding.chunks, blocks, part, room=_AHEAD_CHUNKS, ids=ids)
        first = legs[-1].steps if legs and legs[-1][:2] == shard[1:] else 0
        empty = binding.empty if shard.even else None
        try:
            for number, found in cut(stream, sizes, empty, self._turn):
                batch = prepared.finished(found)
                step = first + number
                if binding.mapped is not None and self.part in (None, "train"):
                    index = step * shard.world + shard.rank
                    batch = binding.mapped.apply(batch, seed=binding.spec.seed, epoch=epoch, index=index)
                yield step, batch
        finally:
            stream.close()

    def recorded(self) -> dict[str, Any]:
        """Specification, statistics, categories and weights, as JSON values: ``hub.feed`` binds them to other rows.

        What is stored with a version, so that evaluation and prediction transform rows as training did.
        """
        return self._family.binding.recorded()

    def state_dict(self, *, stored: bool = True) -> dict[str, Any]:
        """Where all parts are, as small JSON values, the same on every rank that has made as many steps.

        The plan is stored with it, so that whoever loads it has the same rows in the same order.

        Args:
            stored: Whether to store it (and what was learned of its chunks) although an earlier state has, which takes
                a way to the database.
        """
        return self._family.state_dict(stored=stored)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: its cutoff and plan, and in the next iteration the interrupted epoch.

        Raises:
            FeedError: The state is of another feed, or its plan can no longer be had.
        """
        self._family.load_state_dict(state)

    def taking(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Give the batches of a loader of this feed on, and count those that were taken: the feed is where the loop is.

        For whatever reads ahead: worker processes of a ``DataLoader``, ``tf.data``, Accelerate.
        """
        return self._family.place(self.part).taking(batches, self._family.binding.shard)

    @property
    def exact(self) -> bool:
        """Whether :meth:`state_dict` tells what the loop has taken: not so where others read ahead, uncounted."""
        return self._family.place(self.part).exact

    def when_begun(self, call: Callable[[], None]) -> None:
        """Call this once, in the reading thread, right before the next epoch begins to be read."""
        self._family.place(self.part).when_begun(call)

    def to_torch(self, device: Any = None) -> Any:
        """See :func:`nemesyst.frameworks.torch_dataset.torch_dataset`."""
        made = super().to_torch(device)
        self._family.place(self.part).read_by(made)
        return made

    def to_tensorflow(self) -> Any:
        """See :func:`nemesyst.frameworks.tensorflow_dataset.tensorflow_dataset`."""
        self._family.place(self.part).ahead = True
        return super().to_tensorflow()

    def to_keras(self) -> Any:
        """See :func:`nemesyst.frameworks.keras_dataset.keras_data`."""
        made = super().to_keras()
        keras = sys.modules.get("keras")
        self._family.place(self.part).ahead = keras is not None and keras.backend.backend() != "torch"
        return made

    def pin(self, folder: str | Path | None = None) -> Self:
        """Keep the rows as they are, so that updates, deletes and expiry no longer matter to this feed.

        Args:
            folder: A folder to export to, as Parquet files of the decoded rows with ``lineage.json`` beside them; None:
                the documents are kept in the state database, each content once, and whoever has the same cutoff (a
                state, a lineage) reads those.

        Raises:
            FeedError: The server knows no cutoff; the folder cannot be written; pyarrow is not installed.
        """
        if folder is None:
            self._family.pin()
        elif not isinstance(folder, str | Path):
            raise FeedError(f"pin: {folder!r} is not a folder", 'Give a path, such as feed.pin("export").')
        else:
            from nemesyst.feed.export import export

            export(self._family.binding, Path(folder))
        return self

    def since(self, span: str | float, on: str | None = None) -> Self:
        """The newest rows by event time, under the same cutoff: a feed of its own.

        Args:
            span: How far back from the newest row's time: ``"7d"``, or a number where the time is one.
            on: Field of the event time; None: that of the window or the split.

        Raises:
            FeedError: The time field is not known, or no row has a time.
        """
        return type(self)(self._family.since(span, on), self.part, self._watch)

    def first(self, rows: int = 8) -> Batch:
        """The first samples of the plan as a batch, scaled but not augmented; moves no epoch.

        Fewer than ``rows`` where the first chunk has no more; none at all where there are none.
        """
        return self._family.binding.first(rows)

    def alike(self, spec: Feed | Mapping[str, Any]) -> BoundFeed:
        """Another specification over the same database, cutoff and part; all of its rows, whatever this feed's share.

        Args:
            spec: A specification, or what :meth:`recorded` gave, with its statistics and categories.

        Raises:
            FeedError: As in ``hub.feed``.
        """
        from nemesyst.feed.bind import bind
        from nemesyst.feed.binding import Asked

        binding = self._family.binding
        found = bind(binding.target.place, spec, asked=Asked(time=binding.time))
        return found if self.part is None else getattr(found, self.part)

    def origin(self) -> dict[str, Any]:
        """Which rows these are, as JSON values, without reading them.

        Database, collection, part, fingerprint of the specification, and the cutoff (None where the server knows none).
        """
        binding = self._family.binding
        time = binding.time
        return {
            "database": binding.target.place.database,
            "collection": binding.spec.collection,
            "part": self.part,
            "fingerprint": binding.spec.fingerprint,
            "as_of": None if time is None else [time.time, time.inc],
        }

    def refresh(self) -> Self:
        """Move on to the rows of now; epochs count on. The next epoch begins at its beginning."""
        self._family.refresh()
        return self

    def close(self) -> None:
        """Give back what is held between epochs: the place in the cache, and the cursors that follow changes.

        A feed that is dropped does so too. One that is closed can still be read, from the database.
        """
        binding = self._family.binding
        binding.cutoff.close()
        if binding.chunks.entry is not None:
            binding.chunks.entry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many batches an epoch has on this rank; reads what is not known yet.

        Raises:
            FeedError: The feed has a join or another step that changes while it is read.
        """
        from nemesyst.feed.binding.length import steps

        binding = self._family.binding
        if self.part not in (None, "train") and binding.spec.split is None:
            return 0
        part = None if self.part is None or binding.spec.split is None else PARTS.index(self.part)
        return steps(binding, part)

    def lineage(self) -> dict[str, Any]:
        """Where the rows come from, as JSON values.

        Specification and fingerprint; cutoff; number and digests of the chunks and their bounds; samples of each part;
        layout, statistics, categories; version of the server. What nobody has read yet is read.
        """
        return self._family.lineage()

    def changes(self) -> Changes:
        """What became of the collection's rows since the cutoff.

        How many were inserted (they are left out), updated, replaced and deleted, and the ``_id`` of the first of them.
        """
        return self._family.binding.cutoff.changes()

    def unscale(self, values: Any, name: str = "y") -> Any:
        """Predictions or targets in their own units again; an array or tensor of any framework stays one.

        Args:
            values: Shaped like the array in a batch; its last axis may be left out where that is 1.
            name: Name of the array in a batch.

        Raises:
            FeedError: They have another shape, or are no numbers.
        """
        binding = self._family.binding
        scaler, source = binding.prepared.scaler, binding.chunks.source
        if scaler is None:
            return values
        shape = source.layout[name][1] if name in source.layout else None
        return scaler.unscale(values, name, shape, steps_of(binding.spec.window, name))

    def to_numpy(self) -> Batch:
        """All rows at once, as one batch; memory grows with the rows.

        A part, or a rank, that has none of the rows gives arrays of length 0.

        Raises:
            FeedError: No part and no rank has rows, so that it is not known what the arrays are.
        """
        from nemesyst.feed.epoch import joined, need_rows

        batches = list(self) or self._none()
        need_rows(batches, self)
        return joined(batches)

    def _none(self) -> list[Batch]:
        """A batch without rows; no batch where it is not known what it is like."""
        binding = self._family.binding
        batch = binding.empty()
        if batch and binding.mapped is not None and self.part in (None, "train"):
            batch = binding.mapped.apply(batch, seed=binding.spec.seed, epoch=0, index=0)
        return [batch] if batch else []

    @property
    def layout(self) -> Layout:
        """Dtype of each array of a batch, and its shape behind the rows; reads the first rows."""
        return self._family.binding.batch_layout

    def names(self) -> dict[str, tuple[str, ...]]:
        """Fields of the columns of each array."""
        fields, window = self._family.binding.chunks.source.fields, self.spec.window
        found = {**fields.groups, **({"y": fields.targets} if fields.targets else {})}
        if window is not None and window.every is not None:
            found |= {mask_of(name): names for name, names in found.items() if masked(name)}
        return found

    def recipe(self) -> Recipe:
        """How another process reads the same batches; holds no secret, and does not use the connection."""
        return self._family.recipe(self.part)

    def estimate(self) -> int | None:
        """About how many samples an epoch has on this rank; None if unknown."""
        return self._family.estimate(self.part)


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values()))) if batch else 0
