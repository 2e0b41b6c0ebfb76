"""Carrying out orders about runs, in order, whatever the database does meanwhile."""

from __future__ import annotations

import time
import warnings
from collections import deque
from typing import TYPE_CHECKING

from nemesyst.database import is_transient, within
from nemesyst.errors import DiskFullError, NemesystError
from nemesyst.run.records.spool import Spool, folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemesyst.hub import Hub
    from nemesyst.run.records.ops import Op

PATIENCE = 3.0
"""How long one order may take, in s."""
_AGAIN = 1.0
"""When to look again after the database was away, in s."""
_TURN = 2.0
"""How long the spool is worked on at a time, in s: signs of life are given between."""
_KEPT = 10_000
"""Orders that are kept in memory where there is no disk for them."""


class Sender:
    """Carries orders out at once, or keeps them until it can. One thread uses it.

    Args:
        hub: The hub.
        name: What the file of what must wait is called.
    """

    def __init__(self, hub: Hub, name: str) -> None:
        self._state, self._name = hub.state, name
        self._folder = folder_of(hub.settings.home)
        self._spool = Spool(self._folder, name)
        self._held: deque[Op] = deque(maxlen=_KEPT)
        self._next = 0.0
        self._warned = False
        self.refused: NemesystError | None = None
        """What the database would not take, if there was such a thing."""

    @property
    def away(self) -> bool:
        """Whether something waits for the database."""
        return bool(self._spool or self._held)

    def send(self, orders: Iterable[Op]) -> None:
        """Carry out orders after those that wait; never raises."""
        waiting = deque(orders)
        if self.away:
            self._keep(waiting)
            if time.monotonic() >= self._next:
                self._try_again()
            return
        try:
            while waiting:
                self._apply(waiting[0])
                waiting.popleft()
        except NemesystError:
            self._next = time.monotonic() + _AGAIN
            self._keep(waiting)

    def close(self) -> None:
        """Carry out what still can be; the rest is left to the next command on this node."""
        if self.away:
            self._try_again()
        if self._held and not self._stored(self._held):  # the disk may have room again
            self._warn(f"the database is away, and {self._folder} takes nothing: {len(self._held)} writes are lost")
        self._spool.close()

    def _try_again(self) -> None:
        try:
            self._spool.drain(self._apply, _TURN)
            while self._held and not self._spool:
                self._apply(self._held[0])
                self._held.popleft()
        except (NemesystError, OSError):
            self._next = time.monotonic() + _AGAIN
        if self._spool.torn:
            self._warn("a file of what waited for the database could not be read whole")

    def _apply(self, op: Op) -> None:
        try:
            with within(PATIENCE, f"record run {op.run}"):
                op.apply(self._state)
        except NemesystError as error:
            if is_transient(error) or isinstance(error, DiskFullError):
                raise
            self.refused = error  # too large, no right: it will not be better later, and must not hold up the others

    def _keep(self, orders: deque[Op]) -> None:
        if not orders:
            return
        if self._held or not self._stored(orders):  # what is held comes first
            if len(self._held) + len(orders) > _KEPT:
                self._warn(f"the database is away, and {self._folder} takes nothing: the oldest writes are lost")
            self._held.extend(orders)

    def _stored(self, orders: Iterable[Op]) -> bool:
        try:
            self._spool.append(orders)
        except OSError:  # no room, or no right to write there
            return False
        return True

    def _warn(self, what: str) -> None:
        """Say once that something is lost."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"the record of {self._name} lacks something: {what}", RuntimeWarning, stacklevel=2)
