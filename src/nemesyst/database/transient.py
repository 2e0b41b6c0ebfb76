"""Which failures of the database pass by themselves: a server that is away, an election, a conflict."""

from __future__ import annotations

from pymongo import errors as driver

from nemesyst.errors import UnreachableError

_LABELS = ("TransientTransactionError", "RetryableWriteError")
_CODES = {6, 7, 89, 91, 112, 134, 189, 262, 317, 358, 9001, 10107, 11600, 11602, 13435, 13436}
"""Codes of servers that are ending, stepping down, or not (yet) primary, and of conflicts between writes."""


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed later: looks at the error and at what led to it."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        if isinstance(following, UnreachableError | driver.ConnectionFailure):
            return True
        if isinstance(following, driver.PyMongoError) and any(map(following.has_error_label, _LABELS)):
            return True
        if isinstance(following, driver.OperationFailure) and following.code in _CODES:
            return True
        following = following.__cause__ or following.__context__
    return False
