"""What has to be kept with a plan, so that stamps tell the rows of its cutoff once the server's history is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.timestamp import Timestamp

from nemesyst.database.cutoff.ids import key_of
from nemesyst.database.cutoff.times import number
from nemesyst.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Kept:
    """Rows whose stamp is at most the cutoff but that were committed after it.

    Attributes:
        until: Cluster time up to which they are known, beginning with the cutoff.
        settled: Whether no write can have been under way at the cutoff and be unknown: a transaction's time is over.
        ids: Their ``_id``s.
    """

    until: Timestamp
    settled: bool
    ids: tuple[Any, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values, which are BSON values too."""
        return {
            "until": [self.until.time, self.until.inc],
            "settled": self.settled,
            "ids": json_util.dumps(list(self.ids), json_options=json_util.CANONICAL_JSON_OPTIONS),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Kept:
        """Make it out of :meth:`as_dict`.

        Raises:
            DatabaseError: It is something else.
        """
        try:
            ids = json_util.loads(state["ids"], json_options=json_util.CANONICAL_JSON_OPTIONS)
            return cls(Timestamp(*state["until"]), bool(state["settled"]), tuple(ids))
        except (KeyError, TypeError, ValueError) as error:
            raise DatabaseError(
                f"the kept exclusions of a cutoff cannot be read: {error!r}", "Bind the feed again."
            ) from None


def joined(one: Kept | None, other: Kept | None) -> Kept | None:
    """What is known of the same cutoff by two."""
    if one is None or other is None:
        return one or other
    ids = {key_of(identity): identity for identity in (*one.ids, *other.ids)}
    last = max(one.until, other.until, key=number)
    return Kept(last, one.settled or other.settled, tuple(ids.values()))
