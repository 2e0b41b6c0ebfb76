"""Candidates that read the same: what they read is decoded once for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from nemesyst.models.evaluation.candidates import Scaled
from nemesyst.models.evaluation.codes import recoded, table_of, united
from nemesyst.models.evaluation.identity import (
    Identity,
    Ordinals,
    combined,
    numbers_of_rows,
    of_numbers,
    of_targets,
    of_windows,
)
from nemesyst.models.evaluation.task import BATCH, Task, at_once, check_same, over, smaller, stride_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nemesyst.feed import BoundFeed, Feed
    from nemesyst.models.evaluation.candidates import Candidate, Predictor
    from nemesyst.models.evaluation.loading import Loading
    from nemesyst.models.registry import Models

    Array = np.ndarray[Any, Any]
    Batch = dict[str, Array]


@dataclass
class Group:
    """Candidates that read the same.

    Attributes:
        feed: What they read, bound: neither scaled nor shuffled.
        candidates: Them.
        texts: Common texts of the target, by field.
        codes: Texts that have codes in what is read, by field.
        most: Samples that a model is given at once; more are read at once.
    """

    feed: BoundFeed
    candidates: list[Candidate] = field(default_factory=list)
    texts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    codes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    most: int = BATCH

    def predictors(self, models: Models, wanted: Sequence[Candidate], loading: Loading) -> dict[str, Predictor]:
        """What predicts, by label, for those that are wanted."""
        scaled = Scaled(self.most)
        return {
            each.label: self._in_common_codes(each, each.predictor(models, self.feed, loading, scaled))
            for each in self.candidates
            if each in wanted
        }

    def _in_common_codes(self, candidate: Candidate, predict: Predictor) -> Predictor:
        for name, texts in self.texts.items():
            table = table_of(candidate.categories.get(name) or (), texts)
            if table is not None:
                return lambda batch: recoded(predict(batch), batch["y"], table, len(texts))
        return predict

    def samples(self) -> Iterator[tuple[Identity, Batch]]:
        """Batches as they were read, with the identity of their samples; one epoch."""
        spec = self.feed.spec
        if spec.window is not None:
            for batch in self.feed:
                yield _with_target(of_windows(batch.get("device"), batch["time"]), batch), batch
            return
        ordinals = Ordinals()
        for numbers, batch in self.feed.identified(numbers_of_rows):
            yield _with_target(ordinals.apart(of_numbers(numbers)), batch), batch


def _with_target(found: Identity, batch: Batch) -> Identity:
    """A sample is the same only if its target is."""
    return found._replace(key=combined(found.key, of_targets(batch["y"])))


def grouped(candidates: Sequence[Candidate], on: BoundFeed) -> list[Group]:
    """Candidates by what they read, bound to the rows of a feed: its collection, pipeline, split, part and cutoff.

    Raises:
        FeedError: They do not predict the same, or the rows lack a field that one of them needs.
    """
    versions = [each for each in candidates if each.version is not None]
    base, categories = _base(on, versions)
    specs: dict[str, Feed] = {}
    for each in candidates:
        if each.spec is None:
            each.spec = base if each.baseline is None else each.baseline.specification(base)
        specs[each.label] = each.spec
    task = check_same(specs)
    stride = stride_of(on.spec, list(specs.values()))
    texts = united(versions, task.targets)
    groups: dict[str, Group] = {}
    for each in candidates:
        spec = over(specs[each.label], on.spec, stride=stride)
        known = {**(each.categories if each.version is not None else categories), **texts}
        key = _digest([spec.with_(batch_size=1).as_dict(), known])
        if key not in groups:
            feed = _bound(on, spec, known)
            groups[key] = Group(feed, texts=texts, codes=known, most=min(spec.batch_size, feed.spec.batch_size))
        groups[key].candidates.append(each)
    return list(groups.values())


def _base(on: BoundFeed, versions: Sequence[Candidate]) -> tuple[Feed, Mapping[str, Sequence[Any]]]:
    """What functions and baselines read: the feed as it is given, unless the versions predict something else."""
    if not versions:
        return on.spec, {}
    first = versions[0]
    assert first.spec is not None  # noqa: S101 - versions have one
    own = on.spec
    if own.targets and Task.of(own) == Task.of(first.spec) and not any(each.categories for each in versions):
        return own, {}
    return first.spec, first.categories


def _bound(on: BoundFeed, spec: Feed, categories: Mapping[str, Sequence[Any]]) -> BoundFeed:
    prepared = {"scale": None, "classes": None, "categories": dict(categories)}
    single = len(_fields(spec)) == 1  # an array, perhaps: how large it is, is known when it is bound
    wide = spec if single else spec.with_(batch_size=at_once(spec))
    feed = on.alike({**wide.as_dict(), "prepared": prepared} if categories else wide)
    if single:
        size = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in feed.layout.values())
        fitting = smaller(spec, size)
        if fitting is not spec:
            feed = on.alike({**fitting.as_dict(), "prepared": prepared} if categories else fitting)
    return feed


def _fields(spec: Feed) -> list[str]:
    inputs: Any = spec.inputs or ()
    groups = list(inputs.values()) if hasattr(inputs, "values") else [inputs]
    return min(groups, key=len) if groups else []


def source_of(groups: Sequence[Group]) -> tuple[str, str]:
    """Digests of what is read: with the cutoff, and without it. The first is empty where no cutoff is known."""
    told = []
    for group in groups:
        origin = group.feed.origin()
        as_of = origin.pop("as_of")
        origin.pop("fingerprint")
        told.append((as_of, _digest([origin, group.feed.spec.with_(batch_size=1).as_dict(), dict(group.codes)])))
    kin = _digest(sorted(digest for _, digest in told))
    times = [as_of for as_of, _ in told]
    return ("" if None in times else _digest([kin, times]), kin)


def _digest(values: Any) -> str:
    return str(xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True, default=str).encode()))
