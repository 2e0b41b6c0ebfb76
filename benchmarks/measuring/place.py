"""A database to measure on: a given server, or an embedded one of its own."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import nemesyst as nm
from measuring.table import timed
from nemesyst.database import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring.table import Seconds

DATABASE, STATE = "nemesyst_benchmark_feed", "nemesyst_benchmark_feed_state"


@dataclass(frozen=True)
class Place:
    """Where is measured.

    Attributes:
        hub: A hub with databases of its own.
        address: Address with credentials, for peers: to be given through a pipe, never as an argument.
        folder: An empty folder.
    """

    hub: nm.Hub
    address: str
    folder: Path

    def forget(self) -> None:
        """Delete all plans, so that the next feed is the first one."""
        self.hub.db.client.drop_database(STATE)

    def cold(self, collection: str, **given: Any) -> Seconds:
        """Bind a feed that nobody had before and of which nothing is kept, and go through an epoch of it."""

        def epoch() -> int:
            return sum(len(next(iter(batch.values()))) for batch in self.hub.feed(collection, cache=False, **given))

        def seconds() -> float | None:
            self.forget()
            return timed(epoch)()

        return seconds


def arguments(about: str | None, **sizes: int) -> argparse.Namespace:
    """The command line: sizes with their defaults, and ``--rounds`` and ``--address``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rounds": 5, **sizes}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--address", help="a MongoDB; none: an embedded server of its own")
    return parser.parse_args()


@contextmanager
def place(address: str | None) -> Iterator[Place]:
    """A place to measure, empty, and gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        folder = Path(home)
        with nm.connect(address, home=folder / "home", database=DATABASE, state=STATE) as hub:
            for name in (DATABASE, STATE):
                hub.db.client.drop_database(name)
            try:
                yield Place(hub, address or _embedded_address(folder / "home"), folder)
            finally:
                for name in (DATABASE, STATE):
                    hub.db.client.drop_database(name)
        if address is None:
            embedded.stop(folder / "home", force=True)


def _embedded_address(home: Path) -> str:
    with embedded.open_embedded(home) as server:
        user = f"{quote(server.username)}:{quote(server.password)}@"
        return server.uri.replace("mongodb://", f"mongodb://{user}", 1)
