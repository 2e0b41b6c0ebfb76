"""What a job tells while it runs, as messages: JSON values that whoever watches it understands."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INTERVAL = 0.1
"""Time between two messages about progress, in s."""


def to_descriptor(descriptor: int) -> Callable[[Mapping[str, Any]], None]:
    """Send messages to a file descriptor, one JSON value a line, each in one write: threads need not take turns."""

    def send(message: Mapping[str, Any]) -> None:
        left = memoryview((json.dumps(message, default=plain) + "\n").encode())
        while left:
            left = left[os.write(descriptor, left) :]

    return send


def plain(value: Any) -> Any:
    """A value that JSON does not know, as one that it does."""
    return value.item() if isinstance(value, np.generic) else str(value)


class Wire:
    """Progress as messages: ``rows`` (so far), ``epoch``, ``values``, ``expect``.

    Args:
        send: Where a message goes to.
    """

    def __init__(self, send: Callable[[Mapping[str, Any]], None]) -> None:
        self.send = send
        self._rows = 0
        self._values: dict[str, Any] | None = None
        self._told = 0.0

    def rows(self, count: int) -> None:
        """Count rows."""
        self._rows += count
        self._tell()

    def values(self, values: Mapping[str, float], step: int | None) -> None:
        """Keep the newest numbers."""
        self._values = {"values": dict(values), "step": step}
        self._tell()

    def epoch(self, number: int, total: int, rows: int | None) -> None:
        """Tell a new epoch at once."""
        self.flush()
        self.send({"epoch": [number, total, rows]})

    def expect(self, rows: int | None) -> None:
        """Tell how many rows are to come."""
        self.send({"expect": rows})

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= _INTERVAL:
            self.flush()
            self._told = now

    def flush(self) -> None:
        """Tell what is not told yet."""
        self.send({"rows": self._rows})
        if self._values is not None:
            self.send(self._values)
            self._values = None
