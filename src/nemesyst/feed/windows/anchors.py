"""Windows around events: where a field changes, or at times that were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.table import BY
from nemesyst.feed.windows.clock import cells_of, length_of, ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.feed.windows.spec import Window
    from nemesyst.feed.windows.steps import Steps

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Events:
    """Events by device and time.

    Attributes:
        on: Their times, dates or numbers like the rows'; shape (events,), in any order.
        by: Their devices, shape (events,); None without ``Window.by``.
    """

    on: Array
    by: Array | None = None


def event_steps(window: Window, steps: Steps, events: Events | None) -> Array:
    """The step that shows each event; may be one behind a device's last step. Sorted, each once; int64.

    It is the first one at or after the event; on a grid the cell that the event lies in, if there is such a cell.
    """
    if steps.changes is not None:
        return steps.changes
    if events is None or not len(events.on):
        return np.empty(0, np.int64)
    return _at_times(window, steps, events)


def _at_times(window: Window, steps: Steps, events: Events) -> Array:
    moments = ticks(window, events.on)
    if steps.cells is not None:
        every = length_of(window.every)
        moments = cells_of(every, moments) * every  # an event in a cell: the cell is the first to show it
    found = [
        begin + np.searchsorted(steps.times[begin:end], moments[chosen], "left")
        for begin, end, chosen in _by_device(steps, events)
    ]
    return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)


def _by_device(steps: Steps, events: Events) -> Iterator[tuple[int, int, Any]]:
    """Where the steps of each device with events begin and end, and which events those are."""
    ends = (steps.devices + np.diff(steps.devices, append=len(steps.times))).tolist()
    if events.by is None or BY not in steps.table.arrays:
        for begin, end in zip(steps.devices.tolist(), ends, strict=True):
            yield begin, end, slice(None)
        return
    devices = steps.table.arrays[BY][steps.devices].tolist()
    wanted: dict[Any, list[int]] = {_key(device): [] for device in devices}
    for index, device in enumerate(events.by.tolist()):
        if (chosen := wanted.get(_key(device))) is not None:
            chosen.append(index)
    for begin, end, device in zip(steps.devices.tolist(), ends, devices, strict=True):
        if chosen := wanted[_key(device)]:
            yield begin, end, chosen


def _key(device: Any) -> Any:
    return device if getattr(device, "__hash__", None) else repr(device)
