"""Where a feed is bound, and how it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.feed.order import ALL, Shard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bson import Timestamp

    from nemesyst.database import RateLimit
    from nemesyst.feed.cache import Cache


@dataclass(frozen=True)
class Place:
    """Where a feed is bound.

    Attributes:
        connection: The server.
        database: Name of the database with the rows.
        state: Name of the state database.
        cache: Keeps decoded rows; None: nothing is kept.
        read_preference: Which members may be read; None for the connection's own.
        limit: How fast to read; None: as fast as possible.
    """

    connection: Any
    database: str
    state: str
    cache: Cache | None = None
    read_preference: Any = None
    limit: RateLimit | None = None

    @property
    def timeless(self) -> bool:
        """Whether the server knows no cluster time."""
        return not self.connection.server.transactions


@dataclass(frozen=True)
class Asked:
    """How a feed is asked for.

    Attributes:
        as_of: The cutoff as the user gave it; None: now.
        shard: This process's share.
        time: The cutoff of a plan that is known; comes before ``as_of``.
        prepared: Statistics, categories and weights that were taken before, from other rows; None: from these.
    """

    as_of: Any = None
    shard: Shard = ALL
    time: Timestamp | None = None
    prepared: Mapping[str, Any] | None = None


NOW = Asked()
"""All rows of now, for one rank."""
