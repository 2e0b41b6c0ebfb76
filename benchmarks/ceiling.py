"""The ceiling of reading: undecoded bytes out of one server, beside the driver's own ways, in one run.

    python benchmarks/ceiling.py --rows 500000 --images 60000 --rounds 5 [--address mongodb://...]

Every way reads the same rows and counts their bytes, nothing else. The ways take turns, the table shows medians over
the rounds; the ratio is to ``ours`` in the same order, which is the ceiling. Ours in other batch sizes shows why it is
1 MB, and ``ours, ahead`` that reading in advance costs nothing. ``work`` stands for a decoder that takes so long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from put import images, server, telemetry

from nemesyst.database.put import put
from nemesyst.database.raw import RawReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemesyst.database import Connection

DATABASE = "nemesyst_benchmark_ceiling"
BY_ID = {"sort": {"_id": 1}, "hint": {"_id": 1}}
BEST_ROWS = 8000
"""Documents in a batch at which the driver's dictionaries come fastest."""


class Way(NamedTuple):
    """One way to read a collection: what it is compared with, how many rows it reads, and the reading."""

    name: str
    against: str
    rows: int
    read: Callable[[], object]


def fill(connection: Connection, rows: int, pictures: int) -> None:
    """Store the rows, in the order in which they come and by key (clustered), and the images, packed."""
    connection.client.drop_database(DATABASE)
    put(connection, DATABASE, "telemetry", telemetry(rows))
    put(connection, DATABASE, "keyed", telemetry(rows), key=("unit", "t"))
    put(connection, DATABASE, "images", images(pictures))


def size(connection: Connection, name: str) -> float:
    """Bytes of a document."""
    (found,) = connection.client[DATABASE][name].aggregate([{"$collStats": {"storageStats": {}}}])
    return float(found["storageStats"]["avgObjSize"])


def ways(connection: Connection, rows: int, pictures: int) -> Iterator[Way]:
    """All ways, in the order in which they take turns."""
    for name, label, count in (
        ("telemetry", "telemetry", rows),
        ("keyed", "telemetry, clustered", rows),
        ("images", "images, packed", pictures),
    ):
        yield from of_one(connection, name, label, count)


def of_one(connection: Connection, name: str, label: str, count: int) -> Iterator[Way]:
    """The ways of one collection."""
    collection = connection.client[DATABASE][name]

    def ours(**options: Any) -> Callable[[], int]:
        return lambda: sum(map(len, RawReader(connection, DATABASE, name, **options)))

    natural, by_id = f"{label}: ours", f"{label}: ours, by _id"
    yield Way(natural, natural, count, ours())
    yield Way(f"{label}: ours, as a pipeline", natural, count, ours(stages=[{"$match": {}}]))
    yield Way(by_id, by_id, count, ours(find=BY_ID))
    yield Way(f"{label}: ours, 256 KB", natural, count, ours(batch_bytes=1 << 18))
    yield Way(f"{label}: ours, 4 MB", natural, count, ours(batch_bytes=1 << 22))
    yield Way(f"{label}: ours, ahead", natural, count, ours(ahead=2))
    for nanoseconds in (40, 400):
        for ahead in (0, 2):
            reader = worked(connection, name, nanoseconds, ahead)
            mark = f"{label}: ours, {nanoseconds} ns work a row{', ahead' * bool(ahead)}"
            yield Way(mark, natural, count, reader)
    yield Way(f"{label}: find_raw_batches", natural, count, lambda: sum(map(len, collection.find_raw_batches())))
    yield Way(f"{label}: dicts", natural, count, lambda: sum(1 for _ in collection.find()))
    best = lambda: sum(1 for _ in collection.find(batch_size=BEST_ROWS))  # noqa: E731 - beside the others
    yield Way(f"{label}: dicts, best batch size", natural, count, best)


def worked(connection: Connection, name: str, nanoseconds: int, ahead: int) -> Callable[[], None]:
    """Read, and copy columns out of an array for so long a row, as a decoder does."""
    source, column = np.zeros((8000, 128), "uint8"), np.empty((8000, 8), "uint8")
    row = size(connection, name)

    def read() -> None:
        for batch in RawReader(connection, DATABASE, name, ahead=ahead):
            end = time.perf_counter() + len(batch) / row * nanoseconds * 1e-9
            while time.perf_counter() < end:
                np.copyto(column, source[:, 3:11])

    return read


def measure(found: list[Way], rounds: int) -> dict[str, float]:
    """Median rows per second of each way."""
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for way in found:
            start = time.perf_counter()
            way.read()
            rates[way.name].append(way.rows / (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in rates.items()}


def show(connection: Connection, found: list[Way], rates: dict[str, float]) -> None:
    sizes = {way.against: 0.0 for way in found}
    print(f"{'':52} {'rows/s':>10} {'MB/s':>6} {'ratio':>6}")
    for way in found:
        label = way.name.split(":")[0]
        name = {"telemetry": "telemetry", "telemetry, clustered": "keyed"}.get(label, "images")
        each = sizes[way.against] = sizes[way.against] or size(connection, name)
        rate = rates[way.name]
        print(f"{way.name:52} {rate:10,.0f} {rate * each / 1e6:6,.0f} {rate / rates[way.against]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--address", help="a MongoDB; none: an embedded server of its own")
    given = parser.parse_args()
    with server(given.address) as connection:
        fill(connection, given.rows, given.images)
        found = list(ways(connection, given.rows, given.images))
        show(connection, found, measure(found, given.rounds))
        connection.client.drop_database(DATABASE)


if __name__ == "__main__":
    main()
