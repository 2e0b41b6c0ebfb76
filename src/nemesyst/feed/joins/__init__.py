"""Joins over time: for each row the newest earlier row of another collection."""

from typing import TYPE_CHECKING

from nemesyst.feed.joins.spec import AsOf
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.feed.joins.check import Found, check_join
    from nemesyst.feed.joins.joiner import Joiner
    from nemesyst.feed.joins.queries import united

__getattr__ = later(
    __name__,
    {
        "Found": "check",
        "Joiner": "joiner",
        "check_join": "check",
        "united": "queries",
    },
)

__all__ = ["AsOf", "Found", "Joiner", "check_join", "united"]
