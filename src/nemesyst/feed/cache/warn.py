"""What the cache says when it cannot do its work: a warning, because the feed goes on without it."""

from __future__ import annotations

import warnings


class CacheWarning(UserWarning):
    """The cache of decoded rows is damaged, full or not writable; the rows are read from the database instead."""


def warn(message: str) -> None:
    """Say what is wrong with the cache."""
    warnings.warn(message, CacheWarning, stacklevel=3)
