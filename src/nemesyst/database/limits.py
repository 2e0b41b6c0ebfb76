"""Doing something with the database within a time, for what must not wait as long as a training may."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pymongo

from nemesyst.database.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def within(seconds: float, doing: str) -> Iterator[None]:
    """All calls inside together take so many s at most.

    Args:
        seconds: How long.
        doing: What is tried, for the message.

    Raises:
        UnreachableError: The time is over; and what else ``translated`` raises.
    """
    with translated(doing), pymongo.timeout(seconds):
        yield
