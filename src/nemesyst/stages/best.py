"""The best of several versions by a named metric, promoted through the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nemesyst.errors import GateError, ScriptError, SettingsError, UnknownModelError, nearest
from nemesyst.feed import PARTS
from nemesyst.models import check_alias, metric_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.feed import Feed
    from nemesyst.hub import Hub

Better = Literal["lower", "higher"]
RECORDED = "recorded"
"""Champions are beaten by the recorded metric alone, without a comparison on rows."""


@dataclass(frozen=True)
class Best:
    """Which of the versions that a learner's jobs have made is promoted, and what it must show.

    Attributes:
        metric: Name of the metric that versions were saved with, such as ``"mae"`` or ``"val/mae"``.
        better: ``"lower"`` or ``"higher"``; None: as the built-in metric of that name says (of its last part); lower
            for what is called a loss or an error.
        alias: What the best version is promoted to.
        on: The rows on which it is compared with the present champion: ``"test"``, ``"validation"`` or ``"train"`` of
            the learner's feed; ``"recorded"``: on none, the recorded metrics are compared. None: the test part where
            the feed's split has one, else the recorded metrics.
        gate: Metric of that comparison, a name or such as ``nm.mae``; None: the one that ``metric`` names.
        margin: By how much it must be better, in the metric's unit.
        confidence: Of the interval that the margin must lie below; None: the values alone are compared.
        min_samples: Samples to compare on, at least.

    Raises:
        SettingsError: One of them does not fit.
    """

    metric: str
    better: Better | None = None
    alias: str = "champion"
    on: Literal["test", "validation", "train", "recorded"] | None = None
    gate: Any = None
    margin: float = 0.0
    confidence: float | None = 0.95
    min_samples: int = 100

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise SettingsError(f"best: metric={self.metric!r}", 'Name a metric of the versions: best="mae".')
        check_alias(self.alias)
        if self.on not in (None, RECORDED, *PARTS):
            raise SettingsError(f"best: on={self.on!r}", f"One of {', '.join(PARTS)}, {RECORDED}.")
        if self.better not in (None, "lower", "higher"):
            raise SettingsError(f"best: better={self.better!r}", 'It is "lower" or "higher".')
        if self.better is None:
            object.__setattr__(self, "better", _better(self.metric))
        if isinstance(self.margin, bool) or not isinstance(self.margin, int | float) or not math.isfinite(self.margin):
            raise SettingsError(f"best: margin={self.margin!r}", "Give a number in the metric's unit, such as 0.01.")
        if isinstance(self.gate, str):
            metric_named(self.gate)

    def part(self, feed: Feed) -> str | None:
        """The part of a feed that champions are compared on; None: the recorded metrics are.

        Raises:
            ScriptError: The feed has no such part, or it is not known which metric is computed on it.
        """
        split = feed.split
        tests = split is not None and bool(split.test or split.test_from is not None or split.field)
        if self.on == RECORDED or (self.on is None and not tests):
            return None
        if self.on in ("test", "validation") and split is None:
            raise ScriptError(
                f'best: on="{self.on}", and the feed of {feed.collection} has no split',
                'Write split=nm.Split(test=0.1) in the feed, or on="recorded".',
            )
        try:
            self.gated()
        except SettingsError as error:
            raise ScriptError(
                f"best={self.metric!r}: it is not known which metric is compared on the {self.on or 'test'} part: "
                f"{error.message}",
                'Say nm.Best(..., gate=nm.mae), or on="recorded".',
            ) from None
        return self.on or "test"

    def gated(self) -> Any:
        """The metric of the comparison.

        Raises:
            SettingsError: There is no built-in one of that name.
        """
        return metric_named(_last(self.metric)) if self.gate is None else self.gate

    def chosen(self, versions: Sequence[Mapping[str, Any]]) -> tuple[str, float]:
        """The best of some versions (``ref`` and ``metrics``); of equals the first.

        Returns:
            Its reference, and its value.

        Raises:
            ScriptError: None has a finite value; says which metrics there are.
        """
        values = [(version["ref"], version["metrics"].get(self.metric)) for version in versions]
        known = [
            (ref, float(value)) for ref, value in values if isinstance(value, int | float) and math.isfinite(value)
        ]
        if not known:
            names = sorted({name for version in versions for name in version["metrics"]})
            found = "is no number in any" if self.metric in names else f"is in none; {nearest(self.metric, names)}"
            raise ScriptError(
                f"best: the metric {self.metric!r} {found} ({len(versions)} versions)",
                "Return it: nm.Trained(model, metrics={...}).",
            )
        pick = min if self.better == "lower" else max
        return pick(known, key=lambda each: each[1])


def promote_best(
    hub: Hub,
    best: Best,
    path: str,
    feed: Feed,
    versions: Sequence[Mapping[str, Any]],
    build: Callable[..., Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Promote the best of some versions, if it beats the champion.

    Args:
        hub: The hub.
        best: What is asked.
        path: Name and entity of the model.
        feed: The learner's feed, narrowed to the entity.
        versions: ``ref`` and ``metrics`` of each.
        build: Makes the untrained model.

    Returns:
        A line for people, and the numbers behind it.

    Raises:
        NemesystError: The metric is in none, or it could not be compared; that it is not better is no error.
    """
    ref, value = best.chosen(versions)
    said = f"{ref} is the best of {len(versions)} ({best.metric} {value:.4g})"
    details = {"ref": ref, "metric": best.metric, "value": value, "alias": best.alias, "promoted": True}
    why = f"best of {len(versions)} by {best.metric}"
    champion = _champion(hub, f"{path}@{best.alias}")
    if champion is None:
        hub.models.promote(ref, best.alias, why=why)
        return f"{said}, promoted as the first {best.alias}", details
    part = best.part(feed)
    try:
        if part is None:
            _beats_record(best, ref, value, champion)
            evidence = {"metric": best.metric, "value": value, "over": champion.ref}
            hub.models.promote(ref, best.alias, why=why, evidence=evidence)
        else:
            hub.models.promote(
                ref,
                best.alias,
                on=getattr(hub.feed(feed), part),
                metric=best.gated(),
                better=None if best.gate is None or hasattr(best.gate, "better") else best.better,
                margin=best.margin,
                confidence=best.confidence,
                min_samples=best.min_samples,
                build=build,
                why=why,
            )
    except GateError as error:
        return f"{said}; {champion.ref} stays {best.alias}: {error.message}", details | {
            "promoted": False,
            "why": error.message,
        }
    return f"{said}, promoted to {best.alias} over {champion.ref}", details | {"over": champion.ref}


def _champion(hub: Hub, ref: str) -> Any:
    try:
        return hub.models.get(ref)
    except UnknownModelError:
        return None


def _beats_record(best: Best, ref: str, value: float, champion: Any) -> None:
    old = champion.metrics.get(best.metric)
    if old is None:
        raise GateError(f"{champion.ref} was saved without {best.metric}, so there is nothing to compare")
    sign = -1 if best.better == "lower" else 1
    if math.isfinite(old) and not sign * (value - old) > best.margin:
        raise GateError(
            f"{best.metric} is {value:.6g} for {ref}, and {old:.6g} for {champion.ref}; required: {best.better} by "
            f"more than {best.margin:g}"
        )


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _better(name: str) -> Better:
    try:
        return metric_named(_last(name)).better
    except SettingsError:
        if any(_last(name).lower().endswith(end) for end in ("loss", "error")) or name.lower().startswith("loss"):
            return "lower"
        raise SettingsError(
            f"best: it is not known when {name!r} is better", f'Say nm.Best({name!r}, better="lower") or "higher".'
        ) from None
