"""Rows per second out of a cold feed, beside PyMongo, PyMongoArrow, Ray and the ceiling: the undecoded bytes of the same query.

    python benchmarks/feed_rows.py --rows 500000 --images 40000 --rounds 5 [--address mongodb://...]

Every round of ours binds a new feed with an empty state database and no cache, so finding the chunks counts.
"""  # noqa: E501 - the first line of its help

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import Peer, Place, Target, Way, arguments, interleaved, place, show, timed
from measuring.place import DATABASE
from put import telemetry

from nemesyst.database import RawReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBERS = ["air", "power", "site", "count"]
TELEMETRY = {"inputs": NUMBERS, "targets": "air"}
IMAGE = {"inputs": "image", "targets": "label"}


def mixed(count: int) -> Iterator[dict[str, Any]]:
    """The same readings with whole numbers stored as doubles and the other way round, missing fields, texts."""
    chance = random.Random(0)
    for i, row in enumerate(telemetry(count)):
        for name in NUMBERS:
            odds = chance.random()
            if odds < 0.05:
                del row[name]
            elif odds < 0.3:
                row[name] = int(row[name]) if isinstance(row[name], float) else float(row[name])
        yield {**row, "state": ("on", "off", "cooling", "defrosting")[i * 7 % 4]}


def fill(here: Place, rows: int, images: int) -> None:
    """Rows with an ``_id`` of the server's kind, by key (clustered), of many layouts; images as lists and packed."""
    hub = here.hub
    hub.put("telemetry", telemetry(rows))
    hub.put("keyed", telemetry(rows), key=("unit", "t"))
    hub.put("mixed", mixed(rows))
    pixels = np.random.default_rng(0).integers(0, 255, (images, 28, 28), "uint8")
    hub.put("packed", ({"image": pixels[i], "label": i % 10} for i in range(images)))
    as_lists = ({"image": pixels[i].ravel().astype(float).tolist(), "label": i % 10} for i in range(images))
    hub.put("lists", as_lists)


def ceiling(here: Place, collection: str) -> int:
    connection = here.hub._connection  # noqa: SLF001 - the raw replies are what is compared
    with RawReader(connection, DATABASE, collection, find={"filter": {}, "sort": {"_id": 1}}) as replies:
        return sum(map(len, replies))


def loop(here: Place, collection: str) -> int:
    """The loop of the original: document by document."""
    return sum(1 for row in here.hub.db[collection].find() if np.array(row["image"]).size)


def ours(here: Place, collection: str, rows: int, given: dict[str, Any]) -> list[Way]:
    return [
        Way("ceiling", rows, timed(lambda: ceiling(here, collection))),
        Way("ours", rows, here.cold(collection, **given)),
    ]


def peers(here: Place, collection: str, rows: int, fields: list[str], *, lists: bool) -> list[tuple[Peer, Way]]:
    what = {"address": here.address, "database": DATABASE, "collection": collection, "fields": fields, "lists": lists}
    names = {"PyMongoArrow": "pymongoarrow", "Ray read_mongo": "ray"}
    made = [(name, Peer("rows", library=library, **what)) for name, library in names.items()]
    return [(peer, Way(name, rows, peer)) for name, peer in made]


def measure(title: str, ways: list[Way], rounds: int, targets: list[Target], gone: list[Peer]) -> None:
    show(title, ways, interleaved(ways, rounds), targets)
    for peer in gone:
        peer.__exit__()


def main() -> None:
    given = arguments(__doc__, rows=500_000, images=40_000)
    rounds, rows, images = given.rounds, given.rows, given.images
    with place(given.address) as here:
        fill(here, rows, images)

        def dicts(name: str) -> Callable[[], int]:
            return lambda: sum(1 for _ in here.hub.db[name].find())

        others = peers(here, "telemetry", rows, NUMBERS, lists=False)
        ways = [
            *ours(here, "telemetry", rows, TELEMETRY),
            Way("PyMongo dicts", rows, timed(dicts("telemetry"))),
            *(way for _, way in others),
        ]
        targets = [
            Target("ours", "ceiling", 0.75),
            Target("ours", "PyMongo dicts", 3.5),
            Target("ours", "PyMongoArrow", 4),
            Target("ours", "Ray read_mongo", 15),
        ]
        measure("telemetry, by _id", ways, rounds, targets, [peer for peer, _ in others])
        clustered = ours(here, "keyed", rows, TELEMETRY)
        measure("telemetry, clustered on (unit, t)", clustered, rounds, targets[:1], [])
        many = ours(here, "mixed", rows, {**TELEMETRY, "missing": "nan"})
        measure("telemetry of many layouts", many, rounds, [Target("ours", "ceiling", 0.5)], [])

        others = peers(here, "lists", images, ["image"], lists=True)
        by_document = Way("document by document", images, timed(lambda: loop(here, "lists")))
        ways = [*ours(here, "lists", images, IMAGE), by_document, *(way for _, way in others)]
        targets = [
            Target("ours", "ceiling", 0.7),
            Target("ours", "document by document", 4),
            Target("ours", "PyMongoArrow", 8),
            Target("ours", "Ray read_mongo", 8),
        ]
        measure("images as lists of doubles", ways, rounds, targets, [peer for peer, _ in others])
        ways = [*ours(here, "packed", images, IMAGE), by_document._replace(name="lists, document by document")]
        targets = [Target("ours", "ceiling", 0.7), Target("ours", "lists, document by document", 40)]
        measure("images, packed", ways, rounds, targets, [])


if __name__ == "__main__":
    main()
