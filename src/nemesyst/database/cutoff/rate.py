"""Reading no faster than so many bytes a second, for a database that has other work to do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from nemesyst.database import stopping
from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable


_LOOK = 0.1
"""How often whoever waits looks whether anybody still waits for it, in s."""


class RateLimit:
    """A token bucket that all readers of a process can share.

    What was not read within the last second is not made up for.

    Args:
        bytes_per_second: The limit, on average.
        now: A monotonic clock, in s.
        pause: Waits so many s, or until it is stopped; returns whether it was stopped. By default a thread's event.

    Raises:
        SettingsError: The limit is not a positive number.
    """

    def __init__(
        self,
        bytes_per_second: float,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        number = isinstance(bytes_per_second, int | float) and not isinstance(bytes_per_second, bool)
        if not number or not bytes_per_second > 0:
            raise SettingsError(
                f"bytes_per_second: {bytes_per_second!r} was given", "Give a positive number, such as 20e6."
            )
        self._rate = bytes_per_second
        self._now = now
        self._stopped = threading.Event()
        self._pause = pause or self._wait
        self._lock = threading.Lock()
        self._free = now()

    def wait(self, nbytes: int) -> None:
        """Wait until what was read before is paid for, then take ``nbytes`` more. Ctrl-C interrupts it."""
        with self._lock:
            now = self._now()
            start = max(self._free, now - 1.0)
            self._free = start + nbytes / self._rate
        rest = start - now
        while rest > 0 and not self._pause(rest):
            rest = start - self._now()

    def _wait(self, seconds: float) -> bool:
        stopping.check()
        return self._stopped.wait(min(seconds, _LOOK))

    def stop(self) -> None:
        """Let whoever waits go on, now and later."""
        self._stopped.set()
