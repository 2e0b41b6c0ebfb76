"""Evaluating: from references and a feed to a table."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xxhash

from nemesyst.errors import FeedError, SettingsError
from nemesyst.feed import BoundFeed, source_fingerprint
from nemesyst.models.evaluation import passing
from nemesyst.models.evaluation.blocks import intervals
from nemesyst.models.evaluation.candidates import Candidate, candidates_of
from nemesyst.models.evaluation.groups import grouped, source_of
from nemesyst.models.evaluation.loading import Loading
from nemesyst.models.evaluation.results import Result, Results
from nemesyst.models.evaluation.seen import caution
from nemesyst.models.evaluation.store import Evaluations
from nemesyst.models.metrics import Metric, is_built_in, metrics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.feed import Feed
    from nemesyst.models.evaluation.groups import Group
    from nemesyst.models.evaluation.passing import Found
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store

    Given = Mapping[str, Metric | Callable[..., float]]

CONFIDENCE = 0.95
HISTORY = 240
"""Seconds behind its cutoff until which a result is taken to be over the rows of the cutoff: servers have their history
for 300, unless they are told otherwise (``minSnapshotHistoryWindowInSeconds``)."""
SELECTION = 1000
"""Characters of a selection that are kept; longer ones are told apart by their digest."""


def evaluate(
    models: Models,
    store: Store,
    refs: Any,
    feed: BoundFeed,
    metrics: Any,
    *,
    baselines: Any = (),
    loading: Loading | None = None,
    refresh: bool = False,
) -> Results:
    """Compare versions, baselines and functions over the same rows; see ``Models.evaluate``.

    Args:
        models: The registry.
        store: Where it is, and where results are kept.
        refs: References, versions or functions of a batch; one or several.
        feed: Whose rows: a part of a bound feed.
        metrics: By name, or a list, or one.
        baselines: ``"persistence"``, ``"seasonal:N"``, ``"mean"``, or functions.
        loading: How versions are loaded and asked.
        refresh: Whether to compute also what is known.

    Raises:
        FeedError: The rows lack a field, or two candidates predict different things; there are no rows.
        ModelError: A version has no feed, cannot be loaded, or its predictions do not fit.
        SettingsError: A metric or a candidate is none.
    """
    if not isinstance(feed, BoundFeed):
        raise SettingsError(
            f"evaluate: {type(feed).__name__} is not a bound feed", "Give the part to compare on: hub.feed(spec).test."
        )
    wanted = metrics_of(metrics)
    loading = loading or Loading()
    candidates = candidates_of(models, refs, baselines, loading)
    groups = grouped(candidates, feed)
    work = _Work(
        models,
        Evaluations(store),
        groups,
        candidates,
        wanted,
        loading,
        {**feed.origin(), "selection": selection_of(feed)},
        feed.spec,
    )
    return work.results(refresh=refresh)


@dataclass(frozen=True)
class _Work:
    """One evaluation."""

    models: Models
    store: Evaluations
    groups: Sequence[Group]
    candidates: Sequence[Candidate]
    metrics: Given
    loading: Loading
    origin: Mapping[str, Any]
    on: Feed

    @cached_property
    def _definitions(self) -> dict[str, str]:
        return {name: definition_of(name, each) for name, each in self.metrics.items()}

    @cached_property
    def _sources(self) -> tuple[str, str]:
        return source_of(self.groups)

    def results(self, *, refresh: bool) -> Results:
        """The table, out of the database where it can be."""
        known = {} if refresh else self._known()
        lacking = [each for each in self.candidates if not self._complete(each, known)]
        if not lacking:
            return self._table(known)
        found = self._run(lacking)
        if any(_read(result) != (found.rows, found.inputs) for result in known.values()):
            known, found = {}, self._run(self.candidates)  # rows have changed under the cutoff since
        new = self._made(found)
        identities = {each.label: each.identity for each in self.candidates}
        kept = {each.label for each in self.candidates if each.lasting}
        lasting = [
            (identities[row.candidate], row)
            for row in new
            if row.candidate in kept and not row.definition.endswith(":")
        ]
        self.store.put(lasting, source=self._sources[0], kin=self._sources[1])
        return self._table({**known, **{(identities[row.candidate], row.definition): row for row in new}})

    def _run(self, candidates: Sequence[Candidate]) -> Found:
        found = passing.run(self.models, self.groups, candidates, self.metrics, self.loading)
        if not found.samples:
            counts = ", ".join(f"{label} {count:,}" for label, count in found.of.items())
            raise FeedError(
                f"evaluate: there are no samples that all candidates have in common ({counts})",
                "Check pipeline and split, and that windows are not longer than the devices' histories.",
            )
        found.inputs = f"{self._sources[1]}:{found.inputs}"
        return found

    def _known(self) -> dict[tuple[str, str], Result]:
        """What is stored about these rows: by the plan, or else by the digests of the rows and of their inputs."""
        lasting = [each for each in self.candidates if each.lasting]
        known = self._of_these(self.store.of_source(self._sources[0], [each.identity for each in lasting]))
        if len({_read(each) for each in known.values()}) > 1:  # they have changed under the cutoff
            known = {}
        sure = all(map(_exact, known.values()))
        # what learns from the train part is not known by the rows of another
        alike = [each.identity for each in lasting if each.baseline is None or each.baseline.season is not None]
        missing = [each.identity for each in lasting if not self._complete(each, known) and each.identity in alike]
        if not sure or (missing and self.store.has_kin(self._sources[1], missing)):
            found = self._run([])  # one more pass, in which nothing is predicted
            same = {key: each for key, each in known.items() if _read(each) == (found.rows, found.inputs)}
            known = {key: each for key, each in same.items() if sure or key[0] in alike}
            known |= self._of_these(self.store.of_rows(found.rows, found.inputs, alike))
        return known

    def _of_these(self, stored: dict[tuple[str, str], Result]) -> dict[tuple[str, str], Result]:
        wanted = set(self._definitions.values())
        return {key: each for key, each in stored.items() if key[1] in wanted}

    def _complete(self, candidate: Candidate, known: Mapping[tuple[str, str], Result]) -> bool:
        return all((candidate.identity, each) in known for each in self._definitions.values())

    def _made(self, found: Found) -> list[Result]:
        summed = {name: each for name, each in self.metrics.items() if isinstance(each, Metric)}
        ends = intervals(summed, found.sums, found.rows, CONFIDENCE)
        return [
            self._row(each, name, found, ends.get((each.label, name), (math.nan, math.nan)))
            for each in self.candidates
            if each.label in found.bad
            for name in self.metrics
        ]

    def _row(self, candidate: Candidate, name: str, found: Found, ends: tuple[float, float]) -> Result:
        metric = self.metrics[name]
        label, sums = candidate.label, found.sums.get((candidate.label, name))
        value = found.values.get((label, name), math.nan)
        if isinstance(metric, Metric) and sums is not None:
            value = float(metric.total(sums.sum(axis=0)))
        return Result(
            candidate=label,
            kind=candidate.kind,
            metric=name,
            definition=self._definitions[name],
            better=metric.better if isinstance(metric, Metric) else None,
            value=value,
            low=ends[0],
            high=ends[1],
            confidence=CONFIDENCE,
            samples=found.samples,
            of=found.of[label],
            bad=found.bad[label],
            rows=found.rows,
            origin=self.origin,
            inputs=found.inputs,
            sums=sums,
            shown=found.shown.get(label) or None,
        )

    def _table(self, known: Mapping[tuple[str, str], Result]) -> Results:
        cautions = {
            each.identity: caution(self.models, each.version, self.on, self.origin.get("part"))
            for each in self.candidates
            if each.version is not None
        }
        return Results(
            [
                replace(known[each.identity, definition], metric=name, caution=cautions.get(each.identity))
                for each in self.candidates
                for name, definition in self._definitions.items()
            ]
        )


def _exact(result: Result) -> bool:
    """Whether the rows were read while the server had them as they were at the cutoff: then they cannot differ."""
    as_of = result.origin.get("as_of")
    return as_of is not None and result.when is not None and result.when.timestamp() - as_of[0] < HISTORY


def _read(result: Result) -> tuple[str, str]:
    return result.rows, result.inputs


def selection_of(feed: BoundFeed) -> str:
    """What selects and makes the rows of a collection, whatever the cutoff: pipeline, parameters and join, as JSON."""
    told = feed.spec.as_dict()
    text = json.dumps({name: told[name] for name in ("pipeline", "params", "join") if told[name]}, sort_keys=True)
    return text if len(text) <= SELECTION else f"{text[:SELECTION]} ... {xxhash.xxh3_128_hexdigest(text.encode())}"


def definition_of(name: str, metric: Metric | Callable[..., float]) -> str:
    """What a metric is, whatever it is called; results are found again by it. Ends with ``:`` if it is not known."""
    if isinstance(metric, Metric) and is_built_in(metric):
        return metric.name
    own, name = (metric.parts, f"metric:{metric.name}") if isinstance(metric, Metric) else (metric, f"function:{name}")
    try:
        return f"{name}:{source_fingerprint(own)['digest']}"
    except FeedError:
        return f"{name}:"
