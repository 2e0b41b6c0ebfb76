"""Many updates in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    Change = tuple[Mapping[str, Any], Mapping[str, Any]]


def update_all(
    collection: Collection[dict[str, Any]],
    changes: Sequence[Change],
    session: ClientSession | None = None,
    *,
    upsert: bool = False,
) -> None:
    """Make changes (a query, and the update of the one document that it finds) in order."""
    if changes:
        collection.bulk_write([UpdateOne(query, change, upsert=upsert) for query, change in changes], session=session)
