"""Resident memory of a process that goes through a collection: by how much it grows after the first batches.

    python benchmarks/feed_memory.py --rows 5000000 [--address mongodb://...]

Each epoch runs in a process of its own, over a tenth of the rows and over all: growth is flat if both are alike.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

from feed_first import rows
from measuring import arguments, place
from measuring.place import DATABASE, STATE
from measuring.table import judge

import nemesyst as nm

EVERY, FIRST = 50, 20
"""Batches between two looks, and those before what counts as the beginning."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def epochs(address: str, home: str, feed: dict[str, Any], out: Any) -> None:
    """Two epochs; sends MB resident after the first batches, and at most during each epoch."""
    with nm.connect(address, home=home, database=DATABASE, state=STATE) as hub:
        bound = hub.feed(inputs=["air", "power", "site", "count"], targets="air", **feed)
        begin, most = 0, [0, 0]
        for epoch in range(2):
            for number, _ in enumerate(bound):
                if number % EVERY == FIRST:
                    size = resident()
                    begin = begin or size
                    most[epoch] = max(most[epoch], size)
    out.send([size / 1e6 for size in (begin, *most)])


def main() -> None:
    given = arguments(__doc__, rows=5_000_000)
    context = multiprocessing.get_context("spawn")
    with place(given.address) as here:
        for collection, count in (("tenth", given.rows // 10), ("all", given.rows)):
            here.hub.put(collection, rows(count))
        print(f"{'resident memory, MB':40} {'begin':>8} {'epoch 1':>8} {'epoch 2':>8} {'growth':>8}")
        for name in ("tenth", "all"):
            for cache, shuffle in ((False, False), (False, True), (True, True)):
                here.forget()
                feed = {"spec": name, "cache": cache, "shuffle": shuffle}
                near, far = context.Pipe()
                # the address has the password of a server that is gone in a minute; it goes through a pipe
                child = context.Process(target=epochs, args=(here.address, str(here.folder / "home"), feed, far))
                child.start()
                begin, *most = near.recv()
                child.join()
                label = f"{name}, {'cache' if cache else 'no cache'}, {'shuffled' if shuffle else 'in order'}"
                growth = max(most) - begin
                print(f"{label:40} {begin:8.0f} {most[0]:8.0f} {most[1]:8.0f} {growth:8.0f}")
                judge("growth in MB", growth, at_most=300)


if __name__ == "__main__":
    main()
