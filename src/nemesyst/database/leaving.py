"""Ending a process that has used the driver."""

from __future__ import annotations

import atexit

from pymongo.synchronous import monitor


def leave_at_once() -> None:
    """Let this process end without waiting for the driver's threads, which sleep up to half a second.

    They are daemons and hold nothing, once the connections are closed.
    """
    atexit.unregister(getattr(monitor, "_shutdown_resources", None))  # type: ignore[arg-type] # another driver's name
