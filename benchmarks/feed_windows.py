"""Windows of 32 x 4: out of the cache beside a NumPy gather, and out of a clustered collection beside plain rows.

python benchmarks/feed_windows.py --rows 500000 --rounds 5 [--address mongodb://...]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from measuring import Target, Way, arguments, interleaved, place, show, timed
from numpy.lib.stride_tricks import sliding_window_view
from put import telemetry

import nemesyst as nm

LENGTH, HORIZON, BATCH = 32, 4, 256
INPUTS, TARGETS = ["air", "power", "site", "count"], ["air"]


def series(rows: int) -> tuple[Any, Any]:
    """Inputs and targets of all rows by device and time, and where windows begin."""
    found = sorted(telemetry(rows), key=lambda row: (row["unit"], row["t"]))
    values = np.array([[row[name] for name in INPUTS] for row in found], np.float32)
    devices = np.array([row["unit"] for row in found])
    last = len(found) - LENGTH - HORIZON + 1
    return values, np.flatnonzero(devices[:last] == devices[LENGTH + HORIZON - 1 :])


def gather(values: Any, starts: Any, *, shuffled: bool) -> int:
    """The same windows out of memory, as one would write it."""
    order = np.random.default_rng(0).permutation(starts) if shuffled else starts
    past, future = np.arange(LENGTH), LENGTH + np.arange(HORIZON)
    seen = 0
    for begin in range(0, len(order), BATCH):
        here = order[begin : begin + BATCH, None]
        seen += len(values[here + past]) + 0 * len(values[:, :1][here + future])
    return seen


def main() -> None:
    given = arguments(__doc__, rows=500_000)
    window = nm.Window(by="unit", on="t", length=LENGTH, horizon=HORIZON)
    columns: dict[str, Any] = {"inputs": INPUTS, "targets": TARGETS, "batch_size": BATCH}
    values, starts = series(given.rows)
    assert sliding_window_view(values[:64], LENGTH, axis=0).shape[0] == 64 - LENGTH + 1  # noqa: S101 - what a window is
    with place(given.address) as here:
        here.hub.put("telemetry", telemetry(given.rows), key=("unit", "t"))
        kept = {
            shuffle: here.hub.feed("telemetry", window=window, shuffle=shuffle, **columns) for shuffle in (False, True)
        }
        counts = [sum(len(batch["y"]) for batch in feed) for feed in kept.values()]
        assert counts == [len(starts)] * 2, f"{counts} windows, expected {len(starts)}"  # noqa: S101 - compared is the same

        for shuffled, name in ((False, "in order"), (True, "shuffled")):
            feed = kept[shuffled]
            ways = [
                Way("NumPy gather", len(starts), timed(lambda s=shuffled: gather(values, starts, shuffled=s))),  # type: ignore[misc]
                Way("ours", len(starts), timed(lambda f=feed: sum(len(batch["y"]) for batch in f))),  # type: ignore[misc]
            ]
            rates = interleaved(ways, given.rounds)
            show(
                f"windows of {LENGTH} x {HORIZON} out of the cache, {name}",
                ways,
                rates,
                [Target("ours", "NumPy gather", 0.5)],
            )
        ways = [
            Way("rows", given.rows, here.cold("telemetry", **columns)),
            Way("windows", len(starts), here.cold("telemetry", window=window, **columns)),
        ]
        targets = [Target("windows", "rows", 0.5)]
        show("cold, clustered on (unit, t)", ways, interleaved(ways, given.rounds), targets)


if __name__ == "__main__":
    main()
