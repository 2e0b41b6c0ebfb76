"""Saving and loading models: beside MLflow and GridFS, small ones, many, among a million, and one of 2 GB.

    python benchmarks/models.py [--rounds 7] [--versions 1000000] [--megabytes 2000] [--address mongodb://...]

GridFS and ours acknowledge by a majority, journaled; MLflow (local files) and GridFS run in processes of their own, as
``make bench-peers`` installs them. All ways take turns.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import torch
from measuring import Peer, Target, Way, arguments, interleaved, place, show, timed
from measuring.memory import most_resident
from measuring.place import DATABASE, STATE
from measuring.table import judge

import nemesyst as nm

if TYPE_CHECKING:
    from collections.abc import Callable

    from measuring import Place

SHAPE = (1581, 4)
"""Width and number of the linear layers of 40 MB."""


class Lstm(torch.nn.Module):
    """64 units over 8 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = torch.nn.LSTM(8, 64, batch_first=True)
        self.head = torch.nn.Linear(64, 1)


def linear(width: int, layers: int) -> torch.nn.Module:
    return torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(layers)])


def other(net: torch.nn.Module) -> torch.nn.Module:
    """Change every weight, so that no stored content is like it."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1e-3)
    return net


def large(here: Place, rounds: int) -> None:
    """40 MB: save, load from the database, load from the node's cache."""
    net, changing, models = linear(*SHAPE), linear(*SHAPE), here.hub.models
    uncached = nm.Models(here.hub._connection, STATE)  # noqa: SLF001 - a registry without the node's cache
    about = {"shape": SHAPE, "address": here.address, "database": DATABASE, "folder": str(here.folder)}
    known = models.save(net, "large").ref

    def save() -> float:
        other(changing)
        begin = time.perf_counter()
        models.save(changing, "large")
        return time.perf_counter() - begin

    peers = {
        (library, doing): Peer("weights", library=library, doing=doing, **about)
        for library in ("gridfs", "mlflow")
        for doing in ("save", "load")
    }
    ways = [
        Way("save: GridFS", 1, peers["gridfs", "save"]),
        Way("save: MLflow, local files", 1, peers["mlflow", "save"]),
        Way("save: ours", 1, save),
        Way("load: GridFS", 1, peers["gridfs", "load"], "load: GridFS"),
        Way("load: MLflow, local files", 1, peers["mlflow", "load"], "load: GridFS"),
        Way("load: ours, from the database", 1, timed(lambda: uncached.load(known, into=net)), "load: GridFS"),
        Way("load: ours, from the node", 1, timed(lambda: models.load(known, into=net)), "load: GridFS"),
    ]
    targets = [
        Target("save: ours", "save: GridFS", 0.9),
        Target("load: ours, from the database", "load: GridFS", 1.5),
        Target("load: ours, from the node", "load: MLflow, local files", 1.0),
    ]
    show("40 MB of weights", ways, interleaved(ways, rounds), targets)
    for peer in peers.values():
        peer.__exit__()


def small(here: Place, rounds: int) -> None:
    """An LSTM of 64 units: one by one, and 2,600 in one call."""
    net, models, number = Lstm(), here.hub.models, count()
    models.save(net, "small")
    save = milliseconds(lambda: models.save(other(net), "small", metrics={"mae": 0.3}), 10 * rounds)
    load = milliseconds(lambda: models.load("small", into=net), 10 * rounds)
    print(f"\nan LSTM of 64 units: save {save:.1f} ms, load {load:.1f} ms")
    judge("save in ms", save, at_most=15)
    judge("load in ms", load, at_most=5)
    sites = [Lstm() for _ in range(2600)]

    def many() -> None:
        turn = next(number)
        models.save_many([(f"turn{turn}[site{n}]", site) for n, site in enumerate(sites)], metrics={"mae": 0.3})

    seconds = milliseconds(many, 3) / 1000
    print(f"2,600 of them in one call: {seconds:.2f} s")
    judge("seconds", seconds, at_most=2)


def among_many(here: Place, rounds: int, versions: int) -> None:
    """From a reference to the loaded model: among 1,000 versions, and among many, in turns."""
    net, client = Lstm(), here.hub.db.client
    few, many = (registry(here, f"{STATE}_{total}", total) for total in (1000, versions))
    for ref in ("small@latest", "small@champion", "fleet[site7]@champion", "fleet[site7]@2"):
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(100 * rounds):
            for models, found in zip((few, many), seconds, strict=True):
                found.append(timed(partial(models.load, ref, into=net))() or 0.0)
        slow, slower = (statistics.median(found) for found in seconds)
        print(f"{ref:24} {slow * 1000:.2f} ms among 1,000 versions, {slower * 1000:.2f} ms among {versions:,}")
        judge("times", slower / slow, at_most=1.2)
    newest = milliseconds(partial(many.list, limit=100), 3)
    print(f"among {versions:,}: names {milliseconds(many.names, 3):.1f} ms, the newest 100 {newest:.1f} ms")
    for total in (1000, versions):
        client.drop_database(f"{STATE}_{total}")


def registry(here: Place, state: str, total: int) -> nm.Models:
    """A registry with so many versions."""
    models = nm.Models(here.hub._connection, state)  # noqa: SLF001 - a state database of its own
    for name in ("small", "fleet[site7]", "fleet[site7]"):
        models.save(Lstm(), name)
    models.promote_many([("small", "champion"), ("fleet[site7]@2", "champion")])
    fill(here.hub.db.client[state]["versions"], total)
    return models


def fill(versions: Any, total: int) -> None:
    """Records of other sites, nine versions each, like the one that is there, without its weights."""
    like: dict[str, Any] = versions.find_one({"name": "fleet"}) or {}
    del like["_id"], like["contents"]["model"]["data"]
    like |= {"aliases": [], "created": datetime.now(UTC)}
    made = ({**like, "entity": f"unit{n // 9}", "number": n % 9 + 1} for n in range(total))
    while batch := list(islice(made, 10_000)):
        versions.insert_many(batch, ordered=False)


def huge(here: Place, megabytes: int) -> None:
    """Resident memory, pages of maps included, that saving and loading take beside the model itself."""
    width = int((megabytes * 1e6 / 4 / 8) ** 0.5)
    context = multiprocessing.get_context("spawn")
    for doing in ("save", "load", "load again"):
        near, far = context.Pipe()
        # the address has the password of a server that is gone in a minute; it goes through a pipe
        child = context.Process(target=one_huge, args=(here.address, str(here.folder / "home"), width, doing, far))
        child.start()
        begin, most, seconds = near.recv()
        child.join()
        print(f"{megabytes} MB, {doing}: {seconds:.1f} s, {begin / 1e6:,.0f} MB before, {most / 1e6:,.0f} MB at most")
        judge("MB more", (most - begin) / 1e6, at_most=300)


def one_huge(address: str, home: str, width: int, doing: str, out: Any) -> None:
    with nm.connect(address, home=home, database=DATABASE, state=STATE) as hub:
        net = linear(width, 8)
        hub.models.names()
        begin = time.perf_counter()
        with most_resident() as memory:
            if doing == "save":
                hub.models.save(net, "huge")
            else:
                hub.models.load("huge", into=net)
    out.send((memory.begin, memory.most, time.perf_counter() - begin))


def milliseconds(work: Callable[[], object], times: int) -> float:
    """The median time of some work."""
    seconds = timed(work)
    return statistics.median([seconds() or 0.0 for _ in range(times)]) * 1000


def main() -> None:
    given = arguments(__doc__, versions=1_000_000, megabytes=2000)
    with place(given.address) as here:
        large(here, given.rounds)
        small(here, given.rounds)
        huge(here, given.megabytes)
        among_many(here, given.rounds, given.versions)


if __name__ == "__main__":
    main()
