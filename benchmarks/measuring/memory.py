"""Resident memory of this process, with the pages of files that it has mapped."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY = 0.002  # s


class Memory:
    """Bytes resident at the beginning and at most."""

    def __init__(self) -> None:
        self.begin = self.most = resident()


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


@contextmanager
def most_resident() -> Iterator[Memory]:
    """Watch the memory of what is done inside."""
    memory, done = Memory(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            memory.most = max(memory.most, resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()
