"""What is taken from the train part before the first batch: codes of texts, statistics, weights of classes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.feed.categories import CategoryCollector
from nemesyst.feed.decode import Decoder
from nemesyst.feed.loader import read_ahead
from nemesyst.feed.scaling import Scaler, collector
from nemesyst.feed.table import PART, Table
from nemesyst.feed.weights import BALANCED, ClassCounts, ClassWeights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from nemesyst.feed.categories import Categories
    from nemesyst.feed.chunks import Chunks
    from nemesyst.feed.raws import Raw
    from nemesyst.feed.scaling.collect import Collector
    from nemesyst.feed.source import Source
    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Prepared:
    """What batches are finished with.

    Attributes:
        scaler: Scales them; None: as they are.
        classes: Weights of classes; None: there are none.
    """

    scaler: Scaler | None = None
    classes: ClassWeights | None = None

    def finished(self, batch: Batch) -> Batch:
        """A batch with its weights, scaled."""
        if self.classes is not None:
            labels = batch["y"]
            batch = {**batch, "weight": self.classes.of(labels.reshape(-1)).reshape(labels.shape)}
        return batch if self.scaler is None else self.scaler.apply(batch)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "scale": None if self.scaler is None else self.scaler.as_dict(),
            "classes": None if self.classes is None else self.classes.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`as_dict` gave."""
        scale, classes = values["scale"], values["classes"]
        return cls(
            None if scale is None else Scaler.from_dict(scale),
            None if classes is None else ClassWeights.from_dict(classes),
        )


def text_fields(source: Source, columns: Any) -> list[str]:
    """Fields of inputs and targets that hold texts."""
    names = [*(name for group in source.fields.groups.values() for name in group), *source.fields.targets]
    return [name for name in dict.fromkeys(names) if columns.column(name).values.dtype.kind == "U"]


def held_columns(source: Source, raws: Iterable[Raw]) -> dict[str, list[int]]:
    """Columns of each array that hold codes of texts or booleans in these rows: a grid makes no mean of them."""
    if source.spec.window is None or source.spec.window.every is None:
        return {}
    groups = {**source.fields.groups, "y": source.fields.targets}
    plain = {name for names in groups.values() for name in names if name not in source.texts_known}
    held = set(source.texts_known)
    for raw in raws:
        columns = source.columns(raw)
        held |= {name for name in plain if columns.column(name).values.dtype.kind == "b"}
    places = {array: [i for i, name in enumerate(names) if name in held] for array, names in groups.items()}
    return {array: columns for array, columns in places.items() if columns}


def collect_texts(source: Source, fields: list[str]) -> Categories:
    """The texts that fields have in the train part."""
    texts = CategoryCollector(fields)
    for chunk in range(source.rows.chunks()):
        decoder = Decoder(source.fields.names)
        for raw in source.rows.read(chunk):
            for name, values in source.texts(decoder, raw, fields).items():
                if len(values):  # a chunk may have none
                    texts.add(name, values)
    return texts.categories()


class Statistics:
    """Collects what a specification's scale and weights need, chunk by chunk."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scale: dict[str, tuple[list[int] | None, Collector]] = {}
        self._counts = ClassCounts()
        self._lock = threading.Lock()
        self._planned = False

    def visit(self, own: Table) -> None:
        """Take the rows of a chunk."""
        train = own if PART not in own.arrays else own.take(own.arrays[PART] == 0)
        if not train.rows:
            return
        with self._lock:
            if not self._planned:
                self._plan(train)
            for name, (columns, found) in self._scale.items():
                values = train.arrays[name]
                found.add(values if columns is None else values[:, columns])
            if weighs(self._source):
                self._counts.add(train.arrays["y"])

    def _plan(self, table: Table) -> None:
        self._planned = True
        spec, fields = self._source.spec, self._source.fields
        if spec.scale is None:
            return
        groups = {**fields.groups, **({"y": fields.targets} if fields.targets else {})}
        texts = self._source.texts_known
        for name, names in groups.items():
            values = table.arrays[name]
            if values.dtype.kind not in "biuf" or (name == "y" and values.dtype.kind in "iu" and values.ndim == 1):
                continue
            plain = [i for i, each in enumerate(names) if each not in texts]
            if len(names) == 1:
                if plain:
                    self._scale[name] = None, collector(spec.scale, names)
            elif plain:
                self._scale[name] = plain, collector(spec.scale, [names[i] for i in plain])

    def prepared(self) -> Prepared:
        """The result.

        Raises:
            FeedError: The train part is empty; a weight names a class that it does not have.
        """
        spec, fields = self._source.spec, self._source.fields
        if not self._planned:
            raise FeedError(
                f"feed of {spec.collection}: the train part has no rows to take "
                f"{'scale' if spec.scale else 'weights'} from",
                "Check the pipeline and the split, or put rows in first.",
            )
        groups = {**fields.groups, "y": fields.targets}
        scaler = None
        if spec.scale is not None:
            scaler = Scaler({n: c.statistics(spec.scale).over(groups[n]) for n, (_, c) in self._scale.items()})
        return Prepared(scaler, self._weights())

    def _weights(self) -> ClassWeights | None:
        spec = self._source.spec
        if not weighs(self._source):
            return None
        if spec.weight == BALANCED:
            return self._counts.balanced()
        target = self._source.fields.targets[0]
        known = self._source.texts_known.get(target)
        codes = None if known is None else {value: code for code, value in enumerate(known)}
        return self._counts.given(spec.weight, codes)  # type: ignore[arg-type]  # pairs since the specification was made


def weighs(source: Source) -> bool:
    """Whether weights are those of classes."""
    weight = source.spec.weight
    return weight is not None and (weight == BALANCED or not isinstance(weight, str))


def collect_statistics(chunks: Chunks) -> Prepared:
    """Go through all rows once; the cache keeps them."""
    statistics = Statistics(chunks.source)
    numbers = range(chunks.source.rows.chunks())
    for _ in read_ahead(lambda chunk: chunks.load(chunk, statistics.visit), numbers, room=3):
        pass
    chunks.save(lasting=False)
    return statistics.prepared()
