"""A process that goes through epochs of a feed, notes what it was given with its state, and may be killed.

``python feed_reader.py '{"address": ..., "home": ..., "folder": ..., ...}'``; see :func:`main`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nemesyst as nm


def write(path: Path, value: object) -> None:
    """Write a file so that it is there as a whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(path)


def saved(folder: Path) -> dict[int, dict]:
    """What was saved after each step: the state, and the rows that were given since the start of the process."""
    return {int(path.stem): json.loads(path.read_text()) for path in folder.glob("*.json")}


def main(
    folder: str,
    feed: dict,
    *,
    rank: int = 0,
    world: int = 1,
    even: bool = False,
    cache: bool = True,
    every: int = 1,
    pause: float = 0.0,
    resume: dict | None = None,
    bytes_per_second: float | None = None,
    **connection: str,
) -> None:
    """Go through one epoch, or through what a state says is left of it.

    Args:
        folder: Where ``<step>.json`` goes, every so many steps, and ``done`` at the end.
        feed: Arguments of ``nm.Feed``; its input is a row's number.
        rank: This process's rank, of ``world``.
        world: How many there are.
        even: Whether all ranks make the same number of steps.
        cache: Whether decoded rows are kept.
        every: Steps between two states.
        pause: How long each step takes, in s, so that there is time to be killed.
        resume: The state to go on from.
        bytes_per_second: How fast to read.
        connection: Arguments of ``nm.connect``.
    """
    out = Path(folder)
    out.mkdir(exist_ok=True)
    with nm.connect(**connection) as hub:
        bound = hub.feed(
            nm.Feed(**feed), shard=(rank, world), even=even, cache=cache, bytes_per_second=bytes_per_second
        )
        if resume is not None:
            bound.load_state_dict(resume)
        rows: list[int] = []
        for step, batch in enumerate(bound, 1):
            rows += batch["x"][:, 0].astype(int).tolist()
            if step % every == 0:
                write(out / f"{step}.json", {"state": bound.state_dict(), "rows": rows})
            print(step, flush=True)
            time.sleep(pause)
        write(out / "done", {"state": bound.state_dict(), "rows": rows})


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
