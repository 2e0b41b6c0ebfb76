"""A read preference that stays with the member it first chose: a cursor lives on one member only.

The driver's ``command`` selects a member anew for each call, also in a session. A read preference is what selects, and
is called with the members that there are, so this one narrows them to the one that holds the cursor.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from pymongo.errors import AutoReconnect
from pymongo.read_preferences import Nearest

from nemesyst.database import stopping

if TYPE_CHECKING:
    from pymongo.server_description import ServerDescription

PATIENCE = 5.0
"""How long a pinned member may be unknown, in s: it comes back after an election, but a dead one's cursor does not."""

_RANDOM = random.SystemRandom()
"""Not the generator that a training seeds and replays."""


class Pin(Nearest):
    """Chooses among the members that a read preference allows; once :meth:`hold` is called, always the same one.

    The server is told ``nearest``, with which a member answers whatever it has become meanwhile.

    Args:
        wanted: The read preference to choose by.
        threshold: How much farther than the nearest member one may be, in s.
    """

    __slots__ = ("_address", "_held", "_missed", "_threshold", "_wanted")

    def __init__(self, wanted: Any, threshold: float) -> None:
        super().__init__()
        self._wanted = wanted
        self._threshold = threshold
        self._address: tuple[str, int | None] | None = None
        self._held = False
        self._missed: float | None = None

    @property
    def address(self) -> tuple[str, int | None] | None:
        """Host and port of the member that was chosen last; None if the driver had no choice."""
        return self._address

    def hold(self) -> None:
        """Stay with the member that was chosen last."""
        self._held = True

    def __call__(self, selection: Any) -> Any:
        """Narrow the driver's selection to one member, or to none for the driver to look again.

        Raises:
            AutoReconnect: The member has been away for :data:`PATIENCE`.
            StoppedError: Nobody waits for what this thread reads.
        """
        stopping.check()  # the driver asks again and again while it looks for a member
        found = self._pinned(selection) if self._held else self._nearest(self._wanted(selection))
        if not self._held and found is not None:
            self._address = found.address
        return selection.with_server_descriptions([] if found is None else [found])

    def _nearest(self, allowed: Any) -> ServerDescription | None:
        members: list[ServerDescription] = allowed.server_descriptions
        if not members:
            return None
        limit = min(member.round_trip_time or 0 for member in members) + self._threshold
        return _RANDOM.choice([member for member in members if (member.round_trip_time or 0) <= limit])

    def _pinned(self, selection: Any) -> ServerDescription | None:
        for member in selection.server_descriptions:
            if member.address == self._address:
                self._missed = None
                return member  # type: ignore[no-any-return]
        now = time.monotonic()
        self._missed = self._missed or now
        if now - self._missed > PATIENCE:
            raise AutoReconnect("the member of the replica set that was read from has gone")
        return None
