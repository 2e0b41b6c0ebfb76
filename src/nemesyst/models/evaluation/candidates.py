"""What is compared: stored versions, baselines, and functions of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError, ModelError, NemesystError, SettingsError
from nemesyst.feed import Scaler, source_fingerprint
from nemesyst.frameworks import adapter_for
from nemesyst.models.evaluation.baselines import Baseline
from nemesyst.models.evaluation.loading import Loading
from nemesyst.models.evaluation.task import specification
from nemesyst.models.golden import inputs_of
from nemesyst.models.matching import matched
from nemesyst.types import Version

if TYPE_CHECKING:
    from nemesyst.feed import BoundFeed, Feed
    from nemesyst.models.registry import Models

    Array = np.ndarray[Any, Any]
    Batch = Mapping[str, Array]


BASELINE = "baseline:"
"""Begins the name of a baseline where a reference could stand, too."""


@dataclass
class Candidate:
    """One thing that predicts.

    Attributes:
        label: What tables call it: a reference, or a name.
        kind: ``"version"``, ``"baseline"`` or ``"function"``.
        identity: What results are found again by: reference and digest of a version and of how it is asked, or the
            digest of a function. Ends with ``:`` where it cannot be told later whether it is the same one.
        spec: The feed that it learned from, or that it reads.
        version: The record, of a version.
        function: Of a batch in the target's own units, of a function.
    """

    label: str
    kind: str
    identity: str
    spec: Feed | None = None
    version: Version | None = None
    baseline: Baseline | None = None
    function: Callable[..., Any] | None = None
    aliases: tuple[str, ...] = field(default=())

    @property
    def lasting(self) -> bool:
        """Whether results can be found again."""
        return not self.identity.endswith(":")

    @property
    def prepared(self) -> Mapping[str, Any]:
        """Statistics and categories of a version's feed."""
        return {} if self.version is None else (self.version.feed or {}).get("prepared") or {}

    @property
    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Texts that have codes, by field."""
        return self.prepared.get("categories") or {}

    @cached_property
    def scaler(self) -> Scaler | None:
        """Scale of a version's feed."""
        statistics = self.prepared.get("scale")
        return None if statistics is None else Scaler.from_dict(statistics)

    def predictor(self, models: Models, feed: BoundFeed, loading: Loading, scaled: Scaled) -> Predictor:
        """What predicts for batches of a feed; loads a version."""
        if self.baseline is not None:
            return self.baseline.predictor(feed)
        if self.function is not None:
            return _bare(self.label, self.function, scaled.most)
        assert self.version is not None  # noqa: S101 - one of the three
        model = loading.load(models, self.version)
        return _model(self, model, loading.predict, scaled)


class Scaled:
    """The batch of the moment, scaled once for all versions with the same statistics.

    Args:
        most: Samples that a model is given at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._batch: Batch = {}
        self._known: dict[str, Batch] = {}

    def of(self, batch: Batch, scaler: Scaler | None, key: str) -> Batch:
        """The batch's inputs as a scaler makes them; ``key`` is one for all scalers with the same statistics."""
        if scaler is None:
            return batch
        if batch is not self._batch:
            self._batch, self._known = batch, {}
        if key not in self._known:
            self._known[key] = scaler.apply({name: values for name, values in batch.items() if name != "y"})
        return self._known[key]


Predictor = Callable[[Mapping[str, "Array"]], "Array"]
"""Predictions in the target's own units for a batch as it was read, shaped like its ``y``, or with scores behind it."""


def in_portions(function: Callable[[Batch], Any], batch: Batch, most: int) -> Array:
    """What a function gives for a batch, asked for at most so many samples at once."""
    rows = max(map(len, batch.values()), default=0)
    if rows <= most:
        return np.asarray(function(batch))
    begins = range(0, rows, most)
    return np.concatenate(
        [np.asarray(function({name: each[at : at + most] for name, each in batch.items()})) for at in begins]
    )


def _bare(label: str, function: Callable[..., Any], most: int) -> Predictor:
    def predict(batch: Batch) -> Array:
        shown = {name: values for name, values in batch.items() if name not in ("y", "mask.y", "weight")}
        try:
            said = in_portions(function, shown, most)
        except NemesystError as error:
            raise type(error)(f"evaluate: the function {label}: {error.message}", error.remedy) from error
        except Exception as error:
            raise ModelError(
                f"evaluate: the function {label} fails on a batch with {_shapes(shown)}: "
                f"{type(error).__name__}: {error}",
                "It is given a batch as the feed gives it, unscaled and without y, and returns one prediction a row.",
            ) from error
        return _fitting(label, batch, said)

    return predict


def _model(candidate: Candidate, model: Any, own: Callable[[Any, Batch], Any] | None, shared: Scaled) -> Predictor:
    adapter, scaler = adapter_for(model), candidate.scaler
    key = "" if scaler is None else repr(scaler.statistics)

    def asked(batch: Batch) -> Any:
        return own(model, batch) if own is not None else adapter.predict(model, _inputs(batch))

    def predict(batch: Batch) -> Array:
        scaled = shared.of(batch, scaler, key)
        try:
            said = in_portions(asked, scaled, shared.most)
        except NemesystError as error:
            raise type(error)(f"evaluate: {candidate.label}: {error.message}", error.remedy) from error
        except Exception as error:
            raise ModelError(
                f"evaluate: {candidate.label} fails on a batch with {_shapes(scaled)}: {type(error).__name__}: {error}",
                "It must take what its own feed gives; else pass predict=a function of the model and a batch.",
            ) from error
        fitting = _fitting(candidate.label, batch, said)
        return fitting if scaler is None else scaler.unscale(fitting, "y")

    return predict


def _inputs(batch: Batch) -> Any:
    inputs = inputs_of(batch)
    if inputs is None:
        raise ModelError(
            "its feed has no inputs=, so it is not known what the model takes",
            "Pass predict=a function of the model and a batch.",
        )
    return inputs


def _shapes(batch: Batch) -> str:
    return ", ".join(f"{name} {values.shape}" for name, values in batch.items() if name != "y")


def _fitting(label: str, batch: Batch, said: Array) -> Array:
    try:
        return matched(batch["y"], said)
    except SettingsError as error:
        raise ModelError(f"evaluate: {label}: {error.message}", error.remedy) from None


def candidates_of(models: Models, given: Any, baselines: Any, loading: Loading | None = None) -> list[Candidate]:
    """Candidates out of references, versions and functions, in their order, each once; baselines last.

    Raises:
        UnknownModelError: No such version.
        SettingsError: Something else was given, or nothing.
    """
    several = given if isinstance(given, Sequence | set | frozenset) and not isinstance(given, str) else [given]
    made = [candidate_of(models, each, loading) for each in several] + [
        _of_baseline(each) if isinstance(each, str) else candidate_of(models, each, loading)
        for each in _listed(baselines)
    ]
    if not made:
        raise SettingsError("evaluate: there is nothing to compare", 'Give references, such as ["air@latest"].')
    known: dict[str, Candidate] = {}
    for each in made:
        known.setdefault(each.identity, each)
    labels = [each.label for each in known.values()]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise SettingsError(f"evaluate: two functions are called {', '.join(sorted(twice))}", "Name each differently.")
    return list(known.values())


def _listed(baselines: Any) -> Sequence[Any]:
    if baselines is None:
        return ()
    if isinstance(baselines, str) or callable(baselines):
        return [baselines]
    if not isinstance(baselines, Sequence | set | frozenset):
        raise SettingsError(
            f"evaluate: baselines={baselines!r:.80} is neither a list nor a baseline",
            'Such as ["persistence", "mean"].',
        )
    return list(baselines)


def candidate_of(models: Models, given: Any, loading: Loading | None = None) -> Candidate:
    """One candidate out of a reference, a version, a function, or a baseline such as ``"baseline:persistence"``."""
    if isinstance(given, str) and given.startswith(BASELINE):
        return _of_baseline(given.removeprefix(BASELINE))
    if isinstance(given, str | Version):
        version = models.get(str(given))
        spec = specification(version)
        how = (loading or Loading()).digest(version)
        return Candidate(version.ref, "version", f"{version.ref}:{version.digest}:{how}", spec, version)
    if not callable(given):
        raise SettingsError(f"evaluate: {given!r:.80} is neither a reference nor a function", 'Such as "air@champion".')
    name = str(getattr(given, "__name__", type(given).__name__))
    try:
        digest = str(source_fingerprint(given)["digest"])
    except FeedError:  # it cannot be told whether it is the same one later
        digest = f"{id(given)}:"
    return Candidate(name, "function", f"function:{name}:{digest}", function=given)


def _of_baseline(name: str) -> Candidate:
    baseline = Baseline.named(name)
    return Candidate(baseline.name, "baseline", f"baseline:{baseline.name}", baseline=baseline)
