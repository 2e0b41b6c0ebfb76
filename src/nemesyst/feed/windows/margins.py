"""What a chunk reads beside its own rows, so that each window that begins in it can be built.

Rows are in the order of (device, time). The own interval of a chunk runs from one border up to, not with, the next; a
border is any pair of device and time, whether a row is there or not. Rows of one device and time are never divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.windows.clock import length_of, same, spell_of, tick

if TYPE_CHECKING:
    from nemesyst.feed.windows.spec import Window

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Border:
    """Where the own interval of a chunk begins or ends.

    Attributes:
        by: The device; None without ``Window.by``.
        on: The time, as stored or decoded; None: before the device's first row.
    """

    by: Any
    on: Any


@dataclass(frozen=True)
class Borders:
    """The own interval of a chunk, half open.

    Attributes:
        start: Where it begins; None: at the collection's first row.
        stop: Up to where it reaches; None: with the collection's last row.
    """

    start: Border | None = None
    stop: Border | None = None


@dataclass(frozen=True)
class Margin:
    """What to read beside a chunk's own rows; it can be nothing at all.

    Attributes:
        steps: Rows to read from ``stop`` on, of the device of ``stop`` alone, in order; ask :meth:`wanted` whether
            they are enough. 0: none, or those of ``after``.
        after: Length of time to read from ``stop`` on, of the device of ``stop`` alone: a ``timedelta``
            or a number, to be added to ``stop.on``; None: none, or those of ``steps``.
        before: Length of time to read up to, not with, ``start``, of the device of ``start`` alone; None: none.
    """

    steps: int = 0
    after: Any = None
    before: Any = None

    def wanted(self, times: Array, asked: int, read: int | None = None) -> int:
        """How many rows to ask for again, 0 if they are enough; several rows may have one time.

        Args:
            times: ``on`` of the rows after the chunk that were read, in order.
            asked: How many were asked for.
            read: How many the database gave, before some were left out (missing values, later than the cutoff);
                None: as many as there are times.
        """
        if (len(times) if read is None else read) < asked:
            return 0  # the device ends here
        # the last time may go on behind the rows that were read, so it does not count
        different = np.count_nonzero(times[1:] != times[:-1])
        return 0 if different >= self.steps - 1 else 2 * asked


def margin(window: Window) -> Margin:
    """What each chunk needs beside its own rows.

    A border with ``on=None`` needs no rows of its device: nothing lies before it.
    """
    if window.every is None:
        # one more than belongs to a window tells that the last one's time is whole
        return Margin(steps=window.span if window.span > 1 else 0)
    every, gap = length_of(window.every), length_of(window.max_gap)
    # a cell is filled from readings that are max_gap away, out of cells that are read whole
    after, before = (window.span + 1) * every + gap, every + gap
    return Margin(after=spell_of(window.every, after), before=spell_of(window.every, before))


def own_range(borders: Borders, device_starts: Array, devices: Array | None, times: Array) -> tuple[int, int]:
    """The range of a chunk's own steps: first and stop.

    Args:
        borders: The own interval.
        device_starts: Index of each device's first step; int64.
        devices: The device of each step, shape (steps,); None: all are one.
        times: Time of each step, by ``ticks``.
    """
    first, stop = 0, len(times)
    if not stop:
        return 0, 0
    # steps that are not the chunk's own are those of the first border's device and of the last one's
    if borders.start is not None and borders.start.on is not None and is_device(devices, 0, borders.start.by):
        end = int(device_starts[1]) if len(device_starts) > 1 else stop
        first = int(np.searchsorted(times[:end], tick(borders.start.on), "left"))
    if borders.stop is not None and is_device(devices, -1, borders.stop.by):
        begin = int(device_starts[-1])
        past = 0 if borders.stop.on is None else int(np.searchsorted(times[begin:], tick(borders.stop.on), "left"))
        stop = begin + past
    return first, max(first, stop)


def is_device(devices: Array | None, index: int, device: Any) -> bool:
    """Whether an element of a device array is a device as stored or decoded; None: all are one device."""
    return devices is None or same(devices[index], device)
