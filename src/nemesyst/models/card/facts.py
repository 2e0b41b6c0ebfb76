"""What a model card tells: gathered from the records, without reading a row or loading a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemesyst.errors import NemesystError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.models.evaluation import Evaluations, Result
    from nemesyst.models.records import Move
    from nemesyst.models.registry import Models
    from nemesyst.types import Version

_VERSIONS = 200


@dataclass(frozen=True)
class Facts:
    """What is known of a version.

    Attributes:
        version: Its record.
        results: Those of its newest evaluation, and what others had over the same rows.
        earlier: The newest value of each metric of the name's versions, saved by whoever trained them.
        curves: Metrics over the training, by name: points of step and mean.
        tree: What it came from, back to the collections, as text.
        moves: Promotions and rollbacks, by alias.
    """

    version: Version
    results: Sequence[Result] = ()
    earlier: Sequence[Version] = ()
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    tree: str = ""
    moves: Mapping[str, Sequence[Move]] = field(default_factory=dict)

    @property
    def own(self) -> list[Result]:
        """Results of the version itself."""
        return [each for each in self.results if each.candidate == self.version.ref]

    def limits(self) -> list[str]:
        """What has to be said about how far the figures reach, as sentences."""
        said = []
        if not self.own:
            said.append("No evaluation of this version is stored, so nothing here says how good it is.")
        for each in self.own:
            if each.bad:
                said.append(f"{each.metric}: {each.bad:,} of {each.samples:,} predictions are no numbers.")
            if each.samples < each.of:
                said.append(f"{each.metric} is over {each.samples:,} of {each.of:,} samples that all versions have.")
            if not math.isfinite(each.low) and math.isfinite(each.value):
                said.append(f"{each.metric} has no interval.")
        if self.version.feed is not None and not self.version.feed.get("split"):
            said.append("It learned from all rows: no part was kept back for a test.")
        if self.own and self.own[0].origin.get("part") in (None, "train"):
            said.append("The evaluation is not over a test part: it may have learned from these rows.")
        return said


def gathered(models: Models, store: Evaluations, ref: str) -> Facts:
    """Gather what is known; a bare name means its champion, or else its latest version.

    Raises:
        UnknownModelError: No such model.
    """
    version = _chosen(models, ref)
    own = store.of_version(_reference(version))
    results = _beside(store, own)
    return Facts(
        version,
        results=results,
        earlier=[each for each in models.list(version.path, limit=_VERSIONS) if each.entity == version.entity][-12:],
        curves=_curves(models, version),
        tree=_tree(models, version),
        moves={alias: models.history(f"{version.path}@{alias}") for alias in version.aliases},
    )


def _chosen(models: Models, ref: str) -> Version:
    if "@" not in ref:
        try:
            return models.get(f"{ref}@champion")
        except UnknownModelError:
            pass
    return models.get(ref)


def _reference(version: Version) -> Any:
    from nemesyst.models.reference import Reference

    return Reference(version.name, version.entity, version.number)


def _beside(store: Evaluations, own: Sequence[Result]) -> list[Result]:
    """The version's newest results, and those of others over the same rows, each candidate and metric once."""
    if not own:
        return []
    found: dict[tuple[str, str], Result] = {}
    for each in [result for result in own if result.rows == own[0].rows] + store.beside(own[0].rows):
        found.setdefault((each.candidate, each.metric), each)
    return sorted(found.values(), key=lambda each: (each.metric, each.kind != "version", each.candidate))


def _curves(models: Models, version: Version) -> dict[str, list[tuple[float, float]]]:
    try:
        found = models.curves(version.ref)
    except NemesystError:  # a card without curves is better than none
        return {}
    return {name: [(point[0], point[1]) for point in points if len(point) > 1] for name, points in found.items()}


def _tree(models: Models, version: Version) -> str:
    try:
        return str(models.lineage(version.ref))
    except NemesystError:
        return ""
