"""Rows per second of ``hub.put`` beside the driver's ``insert_many``, on one server, in one run.

    python benchmarks/put.py --rows 100000 --rounds 5 [--address mongodb://...]

Every way stores the same rows, majority-acknowledged and journaled, in a collection of its own. The ways take turns,
and the table shows medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from nemesyst.database import Connection
from nemesyst.database.put import put

DATABASE = "nemesyst_benchmark_put"
Way = Callable[[], object]


def telemetry(count: int) -> list[dict[str, Any]]:
    """Rows of 8 fields from 50 devices, one each 10 s."""
    random = np.random.default_rng(0)
    air, power = random.normal(3, 1, count).tolist(), random.normal(600, 50, count).tolist()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "unit": i % 50,
            "t": start + timedelta(seconds=10 * (i // 50)),
            "site": i % 7,
            "air": air[i],
            "power": power[i],
            "door": i % 11 == 0,
            "state": "cooling",
            "count": i,
        }
        for i in range(count)
    ]


def images(count: int) -> list[dict[str, Any]]:
    """Rows of 28x28 random bytes and a label."""
    pixels = np.random.default_rng(0).integers(0, 255, (count, 28, 28), "uint8")
    return [{"image": pixels[i], "label": i % 10} for i in range(count)]


def as_lists(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same images as most programs store them: lists of doubles."""
    return [{"image": row["image"].ravel().astype(float).tolist(), "label": row["label"]} for row in rows]


def ways(connection: Connection, count: int) -> Iterator[tuple[str, int, Way]]:
    """Name, rows and action of each way, in the order in which they run; what an action needs is made before it."""
    database = connection.client[DATABASE]
    rows, pictures = telemetry(count), images(count // 5)
    plain = [dict(row) for row in rows]  # the driver adds _id to the dicts that it is given
    yield "telemetry: insert_many", count, lambda: database.plain.insert_many(plain, ordered=False)
    yield "telemetry: put", count, lambda: put(connection, DATABASE, "rows", rows)
    key = ("unit", "t")
    yield "telemetry: put, key", count, lambda: put(connection, DATABASE, "keyed", rows, key=key)
    yield "telemetry: put, key, the same again", count, lambda: put(connection, DATABASE, "keyed", rows, key=key)
    tenth = rows[: count // 10]
    replace: Way = lambda: put(connection, DATABASE, "keyed", tenth, key=key, on_conflict="replace")  # noqa: E731 - the two ways side by side
    yield "telemetry: put, key, replace", len(tenth), replace
    lists = as_lists(pictures)
    yield "images: insert_many, lists of doubles", len(lists), lambda: database.lists.insert_many(lists, ordered=False)
    yield "images: put, packed", len(pictures), lambda: put(connection, DATABASE, "packed", pictures)


def measure(connection: Connection, count: int, rounds: int) -> dict[str, float]:
    """Median rows per second of each way."""
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        connection.client.drop_database(DATABASE)
        for name, rows, way in ways(connection, count):
            start = time.perf_counter()
            way()
            rates[name].append(rows / (time.perf_counter() - start))
    connection.client.drop_database(DATABASE)
    return {name: statistics.median(found) for name, found in rates.items()}


def show(rates: dict[str, float]) -> None:
    base: dict[str, float] = {}
    print(f"{'':40} {'rows/s':>10} {'ratio':>7}")
    for name, rate in rates.items():
        first = base.setdefault(name.split(":")[0], rate)
        print(f"{name:40} {rate:10,.0f} {rate / first:7.2f}")


@contextmanager
def server(address: str | None) -> Iterator[Connection]:
    """A connection to a given server, or to an embedded one that is started for this."""
    if address:
        connection = Connection(address, timeout=4)
        yield connection
        connection.close()
        return
    import nemesyst as nm
    from nemesyst.database import embedded

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        with nm.connect(home=home) as hub:
            yield hub._connection  # noqa: SLF001 - the raw driver is what is compared
        embedded.stop(Path(home), force=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--address", help="a MongoDB; none: an embedded server of its own")
    given = parser.parse_args()
    with server(given.address) as connection:
        show(measure(connection, given.rows, given.rounds))


if __name__ == "__main__":
    main()
