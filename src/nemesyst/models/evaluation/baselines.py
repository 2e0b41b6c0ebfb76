"""Predictions that need no model: what a model has to beat."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemesyst.feed import BoundFeed, Feed

    Array = np.ndarray[Any, Any]
    Batch = dict[str, Array]

_KNOWN = ["persistence", "mean", "seasonal:24"]


@dataclass(frozen=True)
class Baseline:
    """A baseline by name.

    Attributes:
        name: ``"persistence"``: the last known value of the target; ``"seasonal:N"``: its value N steps before each
            step; ``"mean"``: the mean of the train part, or its most frequent class.
        season: Steps, 0 for persistence; None for the mean.
    """

    name: str
    season: int | None

    @classmethod
    def named(cls, name: str) -> Baseline:
        """A baseline out of its name.

        Raises:
            SettingsError: There is none.
        """
        season = re.fullmatch(r"seasonal:([1-9][0-9]{0,6})", name)
        if season is None and name not in ("persistence", "mean"):
            raise SettingsError(f"there is no baseline {name!r}; {nearest(name, _KNOWN)}", "Or give a function.")
        return cls(name, int(season[1]) if season else 0 if name == "persistence" else None)

    def specification(self, base: Feed) -> Feed:
        """The feed that it reads: the base one where that has the targets' past, else one of their past alone.

        Raises:
            SettingsError: There is no past in it.
        """
        if self.season is None:
            return base
        window = base.window
        if window is None:
            raise SettingsError(
                f"baseline {self.name}: without a window there is no last value of the target",
                "Give a function of a batch as a baseline, or evaluate models of windows.",
            )
        if self.season and self.season < window.horizon:
            raise SettingsError(
                f"baseline {self.name}: targets reach {window.horizon} steps ahead, and {self.season} steps before the "
                "last of them is not known yet",
                f"Give a season of at least {window.horizon} steps.",
            )
        least = max(self.season, 1) + (window.horizon == 0)
        listed = isinstance(base.inputs, tuple) and set(base.targets or ()) <= set(base.inputs)
        if listed and window.length >= least:
            return base
        return base.with_(inputs=base.targets, window=replace(window, length=max(window.length, least), known=()))

    def predictor(self, feed: BoundFeed) -> Callable[[Mapping[str, Array]], Array]:
        """What predicts for batches of a feed, in the target's own units."""
        if self.season is None:
            return learnt(feed.train if feed.part is not None else feed)
        names = feed.names()
        places = [names["x"].index(target) for target in names["y"]]
        horizon, season = feed.spec.window.horizon, self.season
        return lambda batch: _past(batch, places, horizon, season)


def _past(batch: Mapping[str, Array], places: list[int], horizon: int, season: int) -> Array:
    """The targets' own values of before, in their shape."""
    truth, past = batch["y"], batch["x"]
    if past.ndim == 3 and past.shape[2] > len(places):
        past = past[:, :, places]
    length = past.shape[1]
    if not horizon:
        chosen = past[:, length - 1 - max(season, 1)]
    elif season:
        chosen = past[:, length - season : length - season + horizon]
    else:
        chosen = np.repeat(past[:, -1:], horizon, axis=1)
    made: Array = chosen.reshape(truth.shape)
    return made.astype(truth.dtype) if truth.dtype.kind in "iu" and made.dtype.kind in "iu" else made


def learnt(feed: BoundFeed) -> Callable[[Mapping[str, Array]], Array]:
    """The mean of a feed's targets, or their most frequent class; goes through it once.

    Raises:
        SettingsError: It has no rows.
    """
    sums: Any = 0.0
    count: Any = 0
    classes: dict[int, int] = {}
    for batch in feed:
        truth = batch["y"]
        if truth.dtype.kind in "biu":
            for value, many in zip(*np.unique(truth, return_counts=True), strict=True):
                classes[int(value)] = classes.get(int(value), 0) + int(many)
            continue
        known = np.isfinite(truth)
        sums = sums + np.where(known, truth, 0).sum(axis=0, dtype=np.float64)
        count = count + known.sum(axis=0)
    if not classes and not np.any(count):
        raise SettingsError("baseline mean: the train part has no rows", "Check the split.")
    value = np.asarray(max(sorted(classes), key=classes.__getitem__) if classes else sums / np.maximum(count, 1))
    return lambda batch: np.broadcast_to(value, batch["y"].shape)
