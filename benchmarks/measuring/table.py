"""Ways that take turns, and a table of medians with what the ratios between them should be."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Seconds = Callable[[], float | None]
    """Does the work once and gives the seconds that it took; None: it cannot be done here."""


class Way(NamedTuple):
    """One way to do the work.

    Attributes:
        name: What the table calls it.
        rows: How many rows (windows, batches) it goes through.
        seconds: Does it.
        ratio_to: The way that the table compares it with; the first one if empty.
    """

    name: str
    rows: int
    seconds: Seconds
    ratio_to: str = ""


class Target(NamedTuple):
    """What should hold between two ways: the rate of ``ours`` is at least so many times that of ``other``."""

    ours: str
    other: str
    at_least: float


def timed(work: Callable[[], object]) -> Seconds:
    """The work, with a clock around it."""

    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return seconds


def interleaved(ways: Sequence[Way], rounds: int, *, warm: bool = True) -> dict[str, float]:
    """Median rows per second of each way over rounds in which all take turns; those that cannot be done lack.

    Args:
        ways: What to measure.
        rounds: How often.
        warm: Whether a first round is not counted.
    """
    rates: dict[str, list[float]] = {}
    for number in range(rounds + warm):
        for way in ways:
            seconds = way.seconds()
            if seconds is not None and number >= warm:
                rates.setdefault(way.name, []).append(way.rows / seconds)
    return {name: statistics.median(found) for name, found in rates.items()}


def show(title: str, ways: Sequence[Way], rates: dict[str, float], targets: Sequence[Target] = ()) -> None:
    """Print rates and ratios, then the targets."""
    print(f"\n{title:50} {'per s':>12} {'ratio':>7}")
    for way in ways:
        base = rates.get(way.ratio_to or ways[0].name)
        if way.name not in rates:
            print(f"  {way.name:48} not installed")
        else:
            print(f"  {way.name:48} {rates[way.name]:12,.0f} {rates[way.name] / base if base else 0:7.2f}")
    for ours, other, least in targets:
        if ours in rates and other in rates:
            judge(f"{ours} / {other}", rates[ours] / rates[other], at_least=least)


def judge(what: str, found: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
    """Print a figure beside its target."""
    limit = at_least if at_least is not None else at_most
    assert limit is not None  # noqa: S101 - one of them is given
    met = found >= limit if at_least is not None else found <= limit
    word = "at least" if at_least is not None else "at most"
    print(f"  -> {what}: {found:.2f}, target {word} {limit:g}: {'met' if met else 'MISSED'}")
