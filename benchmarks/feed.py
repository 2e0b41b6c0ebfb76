"""Rows per second out of a feed, beside PyMongo's dictionaries and the ceiling: the undecoded bytes of the same query.

Everything runs in one process against an embedded server of its own; rounds are interleaved, medians are shown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nemesyst as nm
from nemesyst.database import Connection, RawReader, embedded

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE = "nemesyst_benchmark_feed"
NUMBERS = ["air", "power", "inlet", "setpoint", "door"]


def telemetry(rows: int) -> Any:
    """Eight fields of a reading, keyed by unit and time."""
    for i in range(rows):
        yield {
            "unit": i % 500, "t": i // 500, "air": i / 7, "power": i / 3, "inlet": 1.5, "setpoint": 3.0,
            "door": 0.0, "state": "on",
        }  # fmt: skip


def fill(hub: nm.Hub, rows: int, images: int) -> None:
    hub.put("telemetry", telemetry(rows), key=("unit", "t"))
    image = np.arange(784, dtype=np.uint8).reshape(28, 28)
    hub.put("packed", ({"i": i, "image": image, "label": i % 10} for i in range(images)), key="i")
    values = [float(value) for value in image.ravel()]
    hub.put("lists", ({"i": i, "image": values, "label": i % 10} for i in range(images // 4)), key="i")


def read(feed: nm.BoundFeed) -> int:
    return sum(len(batch["x"]) for batch in feed)


def raw(connection: Connection, collection: str) -> int:
    """The ceiling; rows are counted by the caller."""
    with RawReader(connection, DATABASE, collection, find={"filter": {}, "sort": {"_id": 1}}) as reader:
        return sum(len(reply) for reply in reader)


def loop(hub: nm.Hub) -> int:
    """The loop of the original: document by document."""
    return sum(1 for row in hub.db["lists"].find() if np.array(row["image"]).size)


def cases(hub: nm.Hub) -> dict[str, dict[str, Callable[[], int]]]:
    """What is measured for each collection; the first is the ceiling."""
    connection = hub._connection  # noqa: SLF001 - the raw replies are what is compared
    numbers = hub.feed("telemetry", inputs=NUMBERS, targets="air")
    packed = hub.feed("packed", inputs="image", targets="label")
    shuffled = hub.feed("packed", inputs="image", targets="label", shuffle=True)
    lists = hub.feed("lists", inputs="image", targets="label")
    return {
        "telemetry": {
            "ceiling": lambda: raw(connection, "telemetry"),
            "feed, float32 x and y": lambda: read(numbers),
            "PyMongo, dictionaries": lambda: sum(1 for _ in hub.db["telemetry"].find()),
        },
        "packed": {
            "ceiling": lambda: raw(connection, "packed"),
            "feed, uint8 x": lambda: read(packed),
            "feed, shuffled": lambda: read(shuffled),
            "PyMongo, dictionaries": lambda: sum(1 for _ in hub.db["packed"].find()),
        },
        "lists": {
            "ceiling": lambda: raw(connection, "lists"),
            "feed, float32 x": lambda: read(lists),
            "PyMongo, document by document": lambda: loop(hub),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        with nm.connect(home=home, database=DATABASE) as hub:
            fill(hub, given.rows, given.images)
            rows = {"telemetry": given.rows, "packed": given.images, "lists": given.images // 4}
            show(measured(cases(hub), given.rounds), rows)
        embedded.stop(Path(home), force=True)


def measured(all_cases: dict[str, dict[str, Callable[[], int]]], rounds: int) -> dict[tuple[str, str], float]:
    """Median seconds of each case; a first round warms up."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds + 1):
        for collection, each in all_cases.items():
            for name, work in each.items():
                start = time.perf_counter()
                work()
                seconds[collection, name].append(time.perf_counter() - start)
    return {key: statistics.median(values[1:]) for key, values in seconds.items()}


def show(seconds: dict[tuple[str, str], float], rows: dict[str, int]) -> None:
    print(f"{'':46}{'rows/s':>12}{'of ceiling':>12}")
    for (collection, name), median in seconds.items():
        share = seconds[collection, "ceiling"] / median
        print(f"{collection + ': ' + name:46}{rows[collection] / median:12,.0f}{share:12.2f}")


if __name__ == "__main__":
    main()
