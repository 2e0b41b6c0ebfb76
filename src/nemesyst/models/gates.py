"""Gates: a version is promoted over another only if it is better on the same rows, and that is written down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.errors import GateError, ModelError, SettingsError, UnknownModelError
from nemesyst.models import aliases
from nemesyst.models.evaluation.blocks import paired
from nemesyst.models.evaluation.candidates import candidate_of
from nemesyst.models.gate_results import results_of
from nemesyst.models.metrics import Better, Metric, metric_named, metrics_of
from nemesyst.models.reference import Reference, check_alias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.models.evaluation import Loading, Result
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store
    from nemesyst.types import Version

SAMPLES = 100
"""Samples that a gate asks for by default."""
BLOCKS = 8
"""Blocks of neighbouring samples from which an interval means something."""


@dataclass(frozen=True)
class Gate:
    """What a version must show.

    Attributes:
        metric: Name of a metric, a metric, or a plain function (then with ``confidence=None``).
        better: ``"lower"`` or ``"higher"``; None: as the metric says.
        margin: By how much it must be better, in the metric's unit; below 0 it may be that much worse.
        confidence: Of the interval that the margin must lie below; None: the values alone are compared.
        min_samples: Samples that both must have in common, at least.

    Raises:
        SettingsError: One of them does not fit.
    """

    metric: Any
    better: Better | None = None
    margin: float = 0.0
    confidence: float | None = 0.95
    min_samples: int = SAMPLES

    def __post_init__(self) -> None:
        if self.better not in (None, "lower", "higher"):
            raise SettingsError(f"promote: better={self.better!r}", 'It is "lower" or "higher".')
        margin = self.margin
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
            raise SettingsError(f"promote: margin={margin!r}", "Give a number in the metric's unit, such as 0.01.")
        sure = self.confidence
        if sure is not None and (isinstance(sure, bool) or not isinstance(sure, int | float) or not 0.5 <= sure < 1):
            raise SettingsError(f"promote: confidence={sure!r}", "Give a number from 0.5 up to, not with, 1.")
        several = isinstance(self.metric, list | tuple | dict)
        if several and len(self.metric) != 1:
            raise SettingsError(f"promote: metric= names {len(self.metric)} metrics", 'Give one, such as metric="mae".')
        if isinstance(self.min_samples, bool) or not isinstance(self.min_samples, int) or self.min_samples < 1:
            raise SettingsError(f"promote: min_samples={self.min_samples!r}", "Give a whole number, 1 or more.")

    @property
    def name(self) -> str:
        """What the metric is called."""
        return self.metric if isinstance(self.metric, str) else next(iter(metrics_of(self.metric)))


def promote(  # noqa: PLR0913 - the public call's own, and where they come from
    models: Models,
    store: Store,
    ref: str,
    alias: str,
    gate: Gate,
    *,
    on: Any,
    over: Any = None,
    loading: Loading | None = None,
    why: str | None = None,
) -> Version:
    """Let an alias mean a version if it passes a gate; see ``Models.promote``.

    Args:
        models: The registry.
        store: Where they are.
        ref: The candidate.
        alias: Such as ``"champion"``.
        gate: What it must show.
        on: The rows: a part of a bound feed, or results over them.
        over: What it must beat: the version that the alias means (the default). Where it means nothing yet: any
            reference, baseline function, or None, when it only needs a value on enough rows.
        loading: How versions are loaded.
        why: Reason, for the history.

    Returns:
        The version. If the alias means it already, nothing is compared.

    Raises:
        GateError: It does not pass, or the alias has moved meanwhile.
        UnknownModelError: No such version.
    """
    check_alias(alias)
    candidate = models.get(str(ref))
    champion = meant(models, f"{candidate.path}@{alias}")
    if champion is not None and champion.number == candidate.number:
        return candidate
    rival = _rival(models, over, candidate, champion, f"{candidate.path}@{alias}")
    evidence = judged(models, store, candidate.ref, rival, gate, on=on, loading=loading, alias=alias)
    moved(store, candidate, alias, champion, evidence, why)
    return models.get(candidate.ref)


def moved(
    store: Store, candidate: Version, alias: str, champion: Version | None, evidence: Mapping[str, Any], why: str | None
) -> None:
    """Move an alias, if it still means what the candidate was compared with.

    Raises:
        GateError: It means something else by now.
    """
    expected = None if champion is None else champion.number
    asked = aliases.Promotion(Reference.parse(candidate.ref), alias, why, evidence, expected)
    try:
        aliases.promote(store, [asked])
    except ModelError as error:
        if type(error) is not ModelError:
            raise
        raise GateError(f"{candidate.ref} is not promoted: {error.message}", error.remedy) from error


def meant(models: Models, ref: str) -> Version | None:
    """The version that a reference means; None if it means nothing."""
    try:
        return models.get(ref)
    except UnknownModelError:
        return None


def _rival(models: Models, over: Any, candidate: Version, champion: Version | None, alias: str) -> Any:
    """What the candidate must beat.

    Raises:
        GateError: The alias means something else, or the candidate would have to beat itself.
    """
    if champion is None:
        if over is not None and candidate_of(models, over).label == candidate.ref:
            raise GateError(
                f"over={over if isinstance(over, str) else candidate.ref} is {candidate.ref} itself, which it cannot "
                f"beat; {alias} means nothing yet",
                "Give another version or a baseline, or leave over out.",
            )
        return over
    if over is None:
        return champion.ref
    given = candidate_of(models, over).label
    if given != champion.ref:
        raise GateError(
            f"over={over if isinstance(over, str) else given} is {given}, but {alias} means {champion.ref}",
            f"Leave over out, or give over={champion.ref!r}.",
        )
    return champion.ref


def judged(
    models: Models,
    store: Store,
    ref: str,
    rival: Any,
    gate: Gate,
    *,
    on: Any,
    loading: Loading | None = None,
    alias: str = "",
) -> dict[str, Any]:
    """Compare a version with its rival.

    Returns:
        The evidence, as values for a record: values, difference, interval, samples, digest and origin of the rows.

    Raises:
        GateError: It does not pass.
    """
    ours, theirs = results_of(models, store, ref, rival, gate, on=on, loading=loading)
    label = f"{ref} is not promoted{f' to {alias}' if alias else ''}"
    better = _better(gate, ours)
    evidence: dict[str, Any] = {
        "metric": gate.name,
        "better": better,
        "value": ours.value,
        "over": None if theirs is None else {"candidate": theirs.candidate, "value": theirs.value},
        "margin": float(gate.margin),
        "confidence": gate.confidence,
        "samples": ours.samples,
        "rows": ours.rows,
        "origin": dict(ours.origin),
    }
    if ours.samples < gate.min_samples:
        raise GateError(
            f"{label}: there are {ours.samples:,} samples to compare on, and {gate.min_samples:,} are required",
            "Compare on more rows, or ask for fewer: min_samples=...",
        )
    for each in (ours, theirs):
        if each is not None and not math.isfinite(each.value):
            raise GateError(
                f"{label}: {gate.name} of {each.candidate} is {each.value} over {each.samples:,} samples "
                f"({each.bad:,} predictions are no numbers)",
                "Find out which rows it cannot predict; a value that is no number never wins.",
            )
    return evidence if theirs is None else evidence | _compared(label, gate, better, ours, theirs)


def _compared(label: str, gate: Gate, better: Better, ours: Result, theirs: Result) -> dict[str, Any]:
    difference = ours.value - theirs.value
    sign = 1 if better == "higher" else -1
    values = f"{gate.name} is {ours.value:.6g}, and {theirs.value:.6g} for {theirs.candidate}"
    required = f"required: {better} by more than {gate.margin:g}"
    if gate.confidence is None:
        if not sign * difference > gate.margin:
            raise GateError(
                f"{label}: {values}, over {ours.samples:,} samples: the difference is {difference:+.6g}; {required}",
                "Keep the present one, or train further.",
            )
        return {"difference": difference, "interval": None}
    blocks = _blocks(label, gate, ours, theirs)
    low, high = paired(_metric(gate, ours), *blocks, ours.rows, gate.confidence)
    least = low if sign > 0 else -high
    if not least > gate.margin:
        raise GateError(
            f"{label}: {values}, over {ours.samples:,} samples: the difference is {difference:+.6g} "
            f"[{low:+.6g}, {high:+.6g}] with a confidence of {gate.confidence:g}; {required}",
            "Keep the present one, train further, or compare on more rows: the interval gets narrower.",
        )
    return {"difference": difference, "interval": [low, high]}


def _blocks(label: str, gate: Gate, ours: Result, theirs: Result) -> tuple[Any, Any]:
    if ours.sums is None or theirs.sums is None:
        raise GateError(
            f"{label}: {gate.name} is a plain function, which gives one number and no interval",
            "Take a metric of Nemesyst (nm.mae), or compare the values alone: confidence=None.",
        )
    if len(ours.sums) < BLOCKS or len(ours.sums) != len(theirs.sums):
        raise GateError(
            f"{label}: the {ours.samples:,} samples lie in {len(ours.sums)} stretches of time, and an interval needs "
            f"{BLOCKS}",
            "Compare on more devices or more time, or compare the values alone: confidence=None.",
        )
    return ours.sums, theirs.sums


def _better(gate: Gate, ours: Result) -> Better:
    if gate.better is not None and ours.better is not None and gate.better != ours.better:
        raise GateError(f"{gate.name} is better when it is {ours.better}, not {gate.better}", "Leave better= out.")
    better = gate.better or ours.better
    if better is None:
        raise GateError(f"it is not known when {gate.name} is better", 'Say better="lower" or better="higher".')
    return better


def _metric(gate: Gate, ours: Result) -> Metric:
    if isinstance(gate.metric, Metric):
        return gate.metric
    try:
        return metric_named(ours.definition)
    except SettingsError:
        raise GateError(f"{gate.name} is a metric of your own", "Pass it itself: promote(..., metric=it).") from None
