"""Seconds from ``hub.feed`` to the first batch, with an empty state database each time.

    python benchmarks/feed_first.py --rows 5000000 --rounds 5 [--address mongodb://...]

Shuffled, the number of chunks has to be known first, for which the keys are walked.
"""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from measuring import arguments, place
from measuring.table import judge
from put import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Place

STEP = 100_000


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Readings, made in pieces so that they need little memory."""
    for begin in range(0, count, STEP):
        for i, row in enumerate(telemetry(min(STEP, count - begin))):
            yield {**row, "t": begin + i}


def seconds(here: Place, name: str, *, shuffle: bool) -> tuple[float, float]:
    """Until the feed is bound, and until its first batch is there."""
    here.forget()
    start = time.perf_counter()
    feed = here.hub.feed(name, inputs=["air", "power"], targets="air", shuffle=shuffle, cache=False)
    bound = time.perf_counter() - start
    with closing(iter(feed)) as batches:  # type: ignore[type-var]  # a generator
        next(batches)
        return bound, time.perf_counter() - start


def main() -> None:
    given = arguments(__doc__, rows=5_000_000)
    with place(given.address) as here:
        here.hub.put("telemetry", rows(given.rows))
        here.hub.put("keyed", rows(given.rows), key=("unit", "t"))
        ways = [(name, shuffle) for name in ("telemetry", "keyed") for shuffle in (False, True)]
        found: dict[tuple[str, bool], list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(given.rounds + 1):
            for name, shuffle in ways:
                found[name, shuffle].append(seconds(here, name, shuffle=shuffle))
        print(f"first batch of {given.rows:,} rows, s")
        for (name, shuffle), times in found.items():
            bound, first = (statistics.median(each) for each in zip(*times[1:], strict=True))
            label = f"{'by _id' if name == 'telemetry' else 'clustered'}, {'shuffled' if shuffle else 'in order'}"
            print(f"  {label:30} bound after {bound:.3f} s, first batch after {first:.3f} s")
            judge("s to the first batch", first, at_most=1.0)


if __name__ == "__main__":
    main()
