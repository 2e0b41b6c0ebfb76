"""Sums in blocks of neighbouring samples, and intervals out of them.

Losses of neighbouring samples are alike, so that an interval that takes each sample for one draw is far too narrow. A
block is what one device has in a stretch of time, and whole blocks are drawn. Stretches are twice as long until the
blocks are few enough; where one block for each device is still too many, devices are put together by their hash. How
long they are is decided by the samples alone, not by their order: two versions over the same samples have the same
blocks, whenever they were evaluated.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.models.metrics import Metric

Array = np.ndarray[Any, Any]
Who = tuple[str, str]
"""A candidate, and the name of a metric."""

LEAST, MOST = 32, 256
"""Blocks of a result: about the square root of the number of samples, between these."""
_KEPT = 2048
"""Blocks while samples come."""
_TIME, _TOP = 63, 128
"""Levels that make stretches longer, and all levels."""
DRAWS = 2000
"""Times that blocks are drawn for an interval."""


class Blocks:
    """Adds up what each row gives.

    Args:
        columns: Sums of each block.
    """

    def __init__(self, columns: int) -> None:
        self._level = 0
        self._waiting: list[tuple[Array, Array, Array]] = []
        self._rows = 0
        self._device, self._time = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._sums = np.empty((0, columns))
        self.count = 0

    def add(self, device: Array, time: Array, parts: Array) -> None:
        """Take samples.

        Args:
            device: uint64, shape (rows,).
            time: int64, shape (rows,).
            parts: What they add, float64, shape (rows, columns).
        """
        if not len(device):
            return
        self.count += len(device)
        device, time = _coarse(device, time, self._level)
        heads = _heads(device, time)
        self._waiting.append((device[heads], time[heads], np.add.reduceat(parts, heads, axis=0)))
        self._rows += len(heads)
        if self._rows > _KEPT:
            self._merge(_KEPT)

    def finished(self) -> Array:
        """The sums of each block, in an order that all results over the same samples share; shape (blocks, columns)."""
        self._merge(min(max(LEAST, math.isqrt(self.count)), MOST))
        return self._sums

    def _merge(self, most: int) -> None:
        pieces = [(self._device, self._time, self._sums), *self._waiting]
        device, time, sums = (np.concatenate([piece[i] for piece in pieces]) for i in range(3))
        self._waiting, self._rows = [], 0
        self._level = _level(device, time, self._level, most)
        device, time = _coarse(device, time, self._level)
        order = np.lexsort((time, device))
        device, time = device[order], time[order]
        heads = _heads(device, time)
        self._device, self._time = device[heads], time[heads]
        self._sums = np.add.reduceat(sums[order], heads, axis=0) if len(heads) else sums


def _level(device: Array, time: Array, least: int, most: int) -> int:
    """The first level from ``least`` on at which there are at most so many blocks."""
    low, high = least, _TOP
    while low < high:
        middle = (low + high) // 2
        coarse = _coarse(device, time, middle)
        order = np.lexsort((coarse[1], coarse[0]))
        if len(_heads(coarse[0][order], coarse[1][order])) <= most:
            high = middle
        else:
            low = middle + 1
    return low


def _coarse(device: Array, time: Array, level: int) -> tuple[Array, Array]:
    """Where the block begins that a sample, or a block of a lower level, is in."""
    if level <= _TIME:
        return device, time >> np.int64(level) << np.int64(level)
    shift = np.uint64(level - _TIME)
    return (device >> shift << shift if shift < 64 else np.zeros_like(device)), np.zeros_like(time)


def _heads(device: Array, time: Array) -> Array:
    """Where a block begins."""
    fresh = np.ones(len(device), bool)
    fresh[1:] = (device[1:] != device[:-1]) | (time[1:] != time[:-1])
    return np.flatnonzero(fresh)


@lru_cache(maxsize=2)
def drawn(blocks: int, seed: str) -> Array:
    """How often each block is drawn, in each of ``DRAWS`` draws with replacement; float64 (draws, blocks).

    Args:
        blocks: How many there are.
        seed: Hexadecimal digits: the digest of the samples, so that all who ask have the same draws.
    """
    chosen = np.random.default_rng(int(seed[:16], 16)).integers(0, blocks, (DRAWS, blocks))
    chosen += np.arange(DRAWS)[:, None] * blocks
    made = np.bincount(chosen.reshape(-1), minlength=DRAWS * blocks).reshape(DRAWS, blocks).astype(np.float64)
    made.flags.writeable = False
    return made


def intervals(
    metrics: Mapping[str, Metric], sums: Mapping[Who, Array], seed: str, confidence: float
) -> dict[Who, tuple[float, float]]:
    """The interval that each metric lies in with this confidence, by drawing blocks (percentiles of the bootstrap).

    Source: Kuensch, The jackknife and the bootstrap for general stationary observations (1989); blocks do not overlap.

    Args:
        metrics: By name.
        sums: Of each block, shape (blocks, columns), by candidate and name of the metric.
        seed: Digest of the samples.
        confidence: Such as 0.95.

    Returns:
        Both ends, NaN where the metric is.
    """
    found = dict.fromkeys(sums, (math.nan, math.nan))
    finite = {who: each for who, each in sums.items() if len(each) and np.isfinite(each).all()}
    if not finite:
        return found
    # one product for all: many small ones cost more than they compute
    totals = drawn(len(next(iter(finite.values()))), seed) @ np.concatenate(list(finite.values()), axis=1)
    begin = 0
    for who, each in finite.items():
        end = begin + each.shape[1]
        found[who] = _ends(metrics[who[1]].total(totals[:, begin:end]), confidence)
        begin = end
    return found


def paired(metric: Metric, ours: Array, theirs: Array, seed: str, confidence: float) -> tuple[float, float]:
    """The interval of the difference (ours less theirs) over the same blocks, drawn together; NaN where one of them is.

    Args:
        metric: The metric.
        ours: Sums of each block, shape (blocks, columns).
        theirs: Those of the other over the same samples.
        seed: Digest of the samples.
        confidence: Such as 0.95.
    """
    if not len(ours) or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return math.nan, math.nan
    draws = drawn(len(ours), seed)
    return _ends(metric.total(draws @ ours) - metric.total(draws @ theirs), confidence)


def _ends(values: Array, confidence: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]  # draws without any row of a class, say
    if len(values) < DRAWS / 2:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
