"""One pass over the rows: each group reads once, each candidate predicts, each metric adds up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError, NemesystError
from nemesyst.models.evaluation.blocks import Blocks
from nemesyst.models.evaluation.identity import Identity, RowDigest, of_inputs
from nemesyst.models.evaluation.spill import Column, Spilled, common
from nemesyst.models.metrics import Metric, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.models.evaluation.candidates import Candidate, Predictor
    from nemesyst.models.evaluation.groups import Group
    from nemesyst.models.evaluation.loading import Loading
    from nemesyst.models.registry import Models

    Array = np.ndarray[Any, Any]
    Batch = Mapping[str, Array]

SHOWN = 240
"""Samples that are kept for pictures."""


@dataclass
class Found:
    """What a pass found.

    Attributes:
        rows: Digest of the samples that all groups have: ids and targets.
        inputs: Digest of what the groups read of their samples besides; whatever their order.
        samples: How many those are.
        of: How many each candidate has by itself.
        sums: Of each block, by candidate and metric.
        values: Of plain functions, by candidate and metric.
        bad: Predictions that are no numbers.
        shown: A few predictions beside the truth.
    """

    rows: str = ""
    inputs: str = ""
    samples: int = 0
    of: dict[str, int] = field(default_factory=dict)
    sums: dict[tuple[str, str], Array] = field(default_factory=dict)
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)
    shown: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def run(
    models: Models, groups: Sequence[Group], wanted: Sequence[Candidate], metrics: Mapping[str, Any], loading: Loading
) -> Found:
    """Go through the rows of all groups; those of ``wanted`` predict, the others' rows still count.

    Memory holds a few batches and the sums of the blocks. With several groups what each sample adds goes to a temporary
    file, and with plain functions truth and predictions do.
    """
    readers = [_Reader(group.predictors(models, wanted, loading), metrics) for group in groups]
    found = Found()
    sink = _Direct() if len(groups) == 1 else _Joined()
    inputs = []
    for group, reader in zip(groups, readers, strict=True):
        count, read = 0, RowDigest()
        take = sink.group()
        for who, batch in group.samples():
            kept, parts = reader.parts(batch)
            count += len(parts)
            read.add(of_inputs(who.key, batch)[kept])
            take(Identity(*(each[kept] for each in who)), parts)
        inputs.append(read.hexdigest())
        found.of |= {each.label: count for each in group.candidates}
    chosen = sink.finish(sum(reader.columns for reader in readers))
    found.rows, found.samples = sink.digest.hexdigest(), sink.digest.count
    found.inputs = "".join(sorted(inputs))
    _settle(found, readers, sink.blocks.finished(), chosen)
    return found


def _settle(found: Found, readers: Sequence[_Reader], sums: Array, chosen: Sequence[Array | None]) -> None:
    begin = 0
    for reader, places in zip(readers, chosen, strict=True):
        for label in reader.predictors:
            for name, metric in reader.plain.items():
                found.sums[label, name] = sums[:, begin : begin + metric.columns].copy()
                begin += metric.columns
            found.bad[label] = int(sums[:, begin].sum())
            begin += 1
            found.values |= {(label, name): reader.whole(label, name, places) for name in reader.functions}
            if label in reader.shown:
                found.shown[label] = reader.shown[label]


class _Reader:
    """What becomes of the batches of one group."""

    def __init__(self, predictors: Mapping[str, Predictor], metrics: Mapping[str, Any]) -> None:
        self.predictors = predictors
        self.plain = {name: each for name, each in metrics.items() if isinstance(each, Metric)}
        self.functions: dict[str, Callable[..., Any]] = {n: each for n, each in metrics.items() if n not in self.plain}
        self.columns = len(predictors) * (sum(each.columns for each in self.plain.values()) + 1)
        self.shown: dict[str, dict[str, list[float]]] = {}
        self._whole = {label: (Column(), Column()) for label in predictors} if self.functions else {}

    def parts(self, batch: Batch) -> tuple[Array, Array]:
        """Which samples have a truth, and what each of those adds: metrics of each candidate, and bad predictions."""
        truth = batch["y"]
        rows = len(truth)
        known = Truth.of(truth, batch.get("mask.y"))
        kept: Any = known.counts.any(axis=1)
        columns = []
        for label, predict in self.predictors.items():
            said = predict(batch)
            for name, metric in self.plain.items():
                columns.append(self._of(label, name, metric, known, said))
            columns.append(_bad(said.reshape(rows, -1)))
            self._keep(label, truth, said, kept)
        made = np.concatenate(columns, axis=1) if columns else np.empty((rows, 0))
        return kept, made if kept.all() else made[kept]

    def _of(self, label: str, name: str, metric: Metric, truth: Truth, said: Array) -> Array:
        try:
            return metric.rows(truth, said)
        except NemesystError as error:
            raise ModelError(f"evaluate: {name} of {label}: {error.message}", error.remedy) from None

    def _keep(self, label: str, truth: Array, said: Array, kept: Array) -> None:
        if self._whole:
            for column, values in zip(self._whole[label], (truth, said), strict=True):
                column.add(values[kept])
        shown = self.shown.setdefault(label, {"truth": [], "predicted": []})
        room = SHOWN - len(shown["truth"])
        if room > 0 and said.shape == truth.shape and len(truth):
            first = np.flatnonzero(kept)[:room]
            for into, values in (("truth", truth), ("predicted", said)):
                shown[into] += values.reshape(len(values), -1)[first, 0].astype(np.float64).tolist()

    def whole(self, label: str, name: str, places: Array | None) -> float:
        """A plain function of all truth and all predictions at once."""
        truth, said = (_flat(column.array()) for column in self._whole[label])
        if places is not None:
            truth, said = truth[places], said[places]
        try:
            return float(self.functions[name](truth, said))
        except NemesystError:
            raise
        except Exception as error:
            raise ModelError(
                f"evaluate: the function {name} fails for {label}: {type(error).__name__}: {error}",
                f"It is given y_true {truth.shape} and y_pred {said.shape}, and returns a number.",
            ) from error


def _bad(said: Array) -> Array:
    """Whether any number of a row is none; float64 of shape (rows, 1)."""
    if said.dtype.kind != "f":
        return np.zeros((len(said), 1))
    finite: Any = np.isfinite(said)
    made: Array = 1.0 - finite.all(axis=1, keepdims=True)
    return made


def _flat(values: Array) -> Array:
    """Shape (rows,) for one number a row, else (rows, numbers)."""
    flat = values.reshape(len(values), -1)
    return flat[:, 0] if flat.shape[1] == 1 else flat


class _Direct:
    """Sums of the samples of a single group."""

    def __init__(self) -> None:
        self.digest = RowDigest()
        self.blocks = Blocks(0)
        self._made = False

    def group(self) -> Callable[[Identity, Array], None]:
        """Where a group's samples go."""
        return self._take

    def _take(self, who: Identity, parts: Array) -> None:
        if not self._made:
            self.blocks, self._made = Blocks(parts.shape[1]), True
        self.digest.add(who.key)
        self.blocks.add(who.device, who.time, parts)

    def finish(self, columns: int) -> list[Array | None]:
        """The places of the common samples in each group; None: all."""
        if not self._made:
            self.blocks = Blocks(columns)
        return [None]


class _Joined:
    """Sums of the samples that several groups have in common."""

    def __init__(self) -> None:
        self.digest = RowDigest()
        self.blocks = Blocks(0)
        self._groups: list[Spilled] = []

    def group(self) -> Callable[[Identity, Array], None]:
        """Where the next group's samples go."""
        self._groups.append(Spilled())
        return self._groups[-1].add

    def finish(self, columns: int) -> list[Array | None]:
        """The places of the common samples in each group."""
        self.blocks = Blocks(columns)
        if not all(group.rows for group in self._groups):
            return [np.empty(0, np.int64) for _ in self._groups]
        places: list[list[Array]] = [[] for _ in self._groups]
        for who, parts, chosen in common(self._groups):
            self.digest.add(who.key)
            self.blocks.add(who.device, who.time, parts)
            for own, each in zip(places, chosen, strict=True):
                own.append(each)
        return [np.concatenate(own) for own in places]
