"""Five versions over the same test part: beside one version, and beside the feed alone; and memory.

The versions share inputs and window and have scales of their own; each is a linear model in NumPy, so that what is
measured is what evaluating adds to reading: identities, scales, metrics, blocks.

python benchmarks/evaluate.py --rows 400000 --rounds 5 [--address mongodb://...]
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import Target, Way, arguments, interleaved, place, show, timed
from put import telemetry

import nemesyst as nm

if TYPE_CHECKING:
    from collections.abc import Mapping

LENGTH, VERSIONS = 32, 5
INPUTS = ["air", "power", "site", "count"]


class Memory:
    """Resident memory of this process, in MB: of the moment, and the most that was seen."""

    def __init__(self) -> None:
        self.most = 0.0
        self._file = os.open("/proc/self/statm", os.O_RDONLY)  # to open it costs more than the models compute

    def look(self) -> float:
        """The memory of the moment."""
        now = int(os.pread(self._file, 100, 0).split()[1]) * 4096 / 1e6
        self.most = max(self.most, now)
        return now


MEMORY = Memory()


def predict(model: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
    """A linear model of a window."""
    MEMORY.look()
    return batch["x"].reshape(len(batch["x"]), -1) @ model["w"]


def spec(*, window: bool, scale: Any = None) -> nm.Feed:
    shape = nm.Window(by="unit", on="t", length=LENGTH) if window else None
    split = nm.Split(by="unit", test=0.5)
    return nm.Feed("telemetry", inputs=INPUTS, targets=["air"], window=shape, split=split, scale=scale)


def main() -> None:
    given = arguments(__doc__, rows=400_000)
    with place(given.address) as here:
        hub = here.hub
        hub.put("telemetry", telemetry(given.rows), key=("unit", "t"))
        for window, name in ((True, "windows"), (False, "rows")):
            size = len(INPUTS) * (LENGTH if window else 1)
            scales = ("standard", "minmax", "robust", None, "standard")
            weights = np.random.default_rng(0).normal(size=(VERSIONS, size, 1)).astype(np.float32) / size
            for number, scale in enumerate(scales):
                feed = hub.feed(spec(window=window, scale=scale))
                feed.recorded()  # the statistics
                hub.models.save({"w": weights[number]}, name, feed=feed)
            refs = [f"{name}@{number + 1}" for number in range(VERSIONS)]
            on = hub.feed(spec(window=window).with_(batch_size=2048), cache=False)
            count = sum(len(batch["y"]) for batch in on.test)

            def evaluate(refs: list[str], on: nm.BoundFeed = on) -> Any:
                return hub.models.evaluate(refs, on.test, [nm.mae, nm.rmse], predict=predict, refresh=True)

            MEMORY.most = before = MEMORY.look()
            ways = [
                Way("the feed alone", count, timed(lambda on=on: sum(len(b["y"]) for b in on.test))),  # type: ignore[misc]
                Way("one version", count, timed(lambda refs=refs: evaluate(refs[:1]))),  # type: ignore[misc]
                Way("five versions", count, timed(lambda refs=refs: evaluate(refs))),  # type: ignore[misc]
            ]
            targets = [
                Target("five versions", "the feed alone", 1 / 1.5),
                Target("five versions", "one version", 1 / 1.5),
            ]
            show(f"{count:,} {name} of the test part", ways, interleaved(ways, given.rounds), targets)
            print(f"  while evaluating, memory grew by at most {MEMORY.most - before:.0f} MB")


if __name__ == "__main__":
    main()
