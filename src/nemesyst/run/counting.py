"""How far a job is, and how much memory its process takes, for its record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.stages import Progress


class Counting:
    """Progress that is told on; notes how far it is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.count = 0
        self.at: list[int] | None = None

    def rows(self, count: int) -> None:
        """Count rows."""
        self.count += count
        self._progress.rows(count)

    def epoch(self, number: int, total: int, rows: int | None) -> None:
        """Note the epoch."""
        self.at = [number, total]
        self._progress.epoch(number, total, rows)

    def values(self, values: Mapping[str, float], step: int | None) -> None:
        """Tell on."""
        self._progress.values(values, step)

    def expect(self, rows: int | None) -> None:
        """Tell on."""
        self._progress.expect(rows)


def peak_memory() -> int | None:
    """The largest resident memory of this process so far, in bytes; None: not known."""
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
