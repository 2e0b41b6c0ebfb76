"""Where one part of a feed is: the next epoch, or in the middle of one."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from nemesyst.feed.binding.state import position_of
from nemesyst.feed.order import Leg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nemesyst.feed.order import Shard

    Place = tuple[int, tuple[Leg, ...]]

_Batch = TypeVar("_Batch")


class Position:
    """Where one part is: the next epoch, or in the middle of one.

    Attributes:
        epoch: Number of the epoch that the next iteration goes through.
        rows: Samples that the last whole epoch gave; None before there was one.
        ahead: Whether what reads it in this process reads ahead of the loop.
    """

    def __init__(self, epoch: int = 0, legs: tuple[Leg, ...] = ()) -> None:
        self.epoch = epoch
        self.rows: int | None = None
        self.ahead = False
        self._given = 0
        self._legs = legs
        self._running: Place | None = None
        self._taken: Place | None = None
        self._readers: list[weakref.ref[Any]] = []
        self._begun: Callable[[], None] | None = None

    def begin(self) -> Place:
        """Begin an epoch: its number, and what was gone through of it before."""
        self.tell_begun()
        epoch, legs = self.epoch, self._legs
        self.epoch, self._legs = epoch + 1, ()
        self._running = (epoch, legs)
        self._given = 0
        return epoch, legs

    def at(self, epoch: int, legs: tuple[Leg, ...], shard: Shard, step: int, rows: int) -> None:
        """So many steps were made in an epoch, those before a resume on as many ranks included; the last with rows."""
        self._given += rows
        self._running = (epoch, _after(legs, shard, step))

    def end(self, epoch: int, legs: tuple[Leg, ...]) -> None:
        """An epoch, of which ``legs`` were gone through before, is at its end."""
        if not legs:
            self.rows = self._given
        if self._running is not None and self._running[0] == epoch:
            self._running = None

    def taking(self, batches: Iterable[_Batch], shard: Shard) -> Iterator[_Batch]:
        """Give the batches of the next epoch on, wherever they are read; only those that were taken count."""
        iterator = iter(batches)  # before it is asked where it begins: a loader draws random numbers here
        self.tell_begun()
        epoch, legs = max([self.epoch, *self._epochs_of_readers()]), self._legs
        if epoch != self.epoch:
            legs = ()
        step = _steps_before(legs, shard)
        self._taken = (epoch, legs)
        whole = False
        try:
            for batch in iterator:
                step += 1
                self._taken = (epoch, _after(legs, shard, step))
                yield batch
            whole = True
        finally:
            self._running, self._taken = None if whole else self._taken, None
            self.epoch, self._legs = max(self.epoch, epoch + 1), ()

    @property
    def exact(self) -> bool:
        """Whether :meth:`as_dict` tells what a loop has taken, not what others have read ahead of it."""
        if self._taken is not None:
            return True
        return not (self.ahead and self._running) and all(epoch <= self.epoch for epoch in self._epochs_of_readers())

    def read_by(self, dataset: Any) -> None:
        """A dataset may read it in other processes; it tells its ``next_epoch``."""
        self._readers.append(weakref.ref(dataset))

    def _epochs_of_readers(self) -> list[int]:
        return [reader.next_epoch for each in self._readers if (reader := each()) is not None]

    def when_begun(self, call: Callable[[], None]) -> None:
        """Call this once, right before the next epoch begins to be read."""
        self._begun = call

    def tell_begun(self) -> None:
        """Call what waits for the beginning."""
        call, self._begun = self._begun, None
        if call is not None:
            call()

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        epoch, legs = self._taken or self._running or (self.epoch, self._legs)
        return {"epoch": epoch, "legs": [list(leg) for leg in legs]}

    def load(self, values: Mapping[str, Any]) -> None:
        """Go on from what :meth:`as_dict` gave.

        Raises:
            ValueError: It is something else.
        """
        (self.epoch, self._legs), self._running = position_of(values), None

    def moved(self, epoch: int, legs: tuple[Leg, ...]) -> Position:
        """Another one in an epoch, after what was gone through of it; who still reads from here does not move it."""
        found = Position(epoch, legs)
        found.ahead, found._readers = self.ahead, self._readers
        return found


def _after(legs: tuple[Leg, ...], shard: Shard, step: int) -> tuple[Leg, ...]:
    """Legs when so many steps were made, those before a resume on as many ranks included."""
    before = legs[:-1] if legs and legs[-1][:2] == shard[1:] else legs
    return (*before, Leg(shard.world, shard.even, step))


def _steps_before(legs: tuple[Leg, ...], shard: Shard) -> int:
    return legs[-1].steps if legs and legs[-1][:2] == shard[1:] else 0
