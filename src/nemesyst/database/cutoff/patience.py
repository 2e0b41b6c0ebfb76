"""Which failures pass by themselves, and how long they are waited for."""

from __future__ import annotations

import time

from pymongo import errors as driver

from nemesyst.database import stopping
from nemesyst.errors import DatabaseError, UnreachableError

PATIENCE = 60.0
"""How long to go on while no member answers, in s: some elections long."""
TOO_OLD = {239, 246}
"""SnapshotTooOld, SnapshotUnavailable: the server cannot read at that time (any more)."""
_PAUSE = 0.2
_PASSING = {6, 7, 43, 50, 89, 91, 133, 134, 136, 175, 189, 234, 237, 262, 9001, 10107, 11600, 11602, 13435, 13436}
"""Failovers, shutdowns, lost connections, killed cursors: the same read can succeed a moment later."""
_INVALID = 72


def code_of(error: BaseException) -> int | None:
    """The server's code of what the driver told, through one of our errors."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    return cause.code if isinstance(cause, driver.OperationFailure) else None


def passes(error: BaseException) -> bool:
    """Whether the same command can succeed later."""
    code = code_of(error)
    if code == _INVALID:  # a member that has not heard of that cluster time yet
        return "must not be greater than the current clusterTime" in str(error)
    return isinstance(error, UnreachableError | driver.ConnectionFailure) or code in _PASSING


class Patience:
    """Waits a moment after each failure, and gives up when nothing has succeeded for too long.

    Args:
        doing: What is tried, for the error.
        seconds: How long.
    """

    def __init__(self, doing: str, seconds: float = PATIENCE) -> None:
        self._doing = doing
        self._seconds = seconds
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """Forget earlier failures."""
        self._failing_since = None

    def wait(self, error: DatabaseError) -> None:
        """Wait a moment.

        Raises:
            UnreachableError: It has failed for too long.
            StoppedError: Nobody waits for it any more.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since > self._seconds:
            if isinstance(error, UnreachableError):
                raise error
            raise UnreachableError(
                f"{self._doing}: it failed again and again for {self._seconds:.0f} s: {error.message}",
                "Check the servers of the replica set, then begin again.",
            ) from error
        stopping.pause(_PAUSE)
