"""Windows out of their steps' arrays: one copy of each, in the order that is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.feed.table import BY, ON
from nemesyst.feed.windows.names import AGE, MEASURED, mask_of, masked, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.feed.windows.spec import Window

Array = np.ndarray[Any, Any]
Batch = dict[str, Array]


def gathered(window: Window, arrays: Mapping[str, Array], starts: Array) -> Batch:
    """Copy windows into a batch.

    Args:
        window: What a window is.
        arrays: Those of ``WindowTable.table``; memory maps are read only where windows are.
        starts: Index of each window's first step, in any order; shape (batch,).

    Returns:
        C-contiguous arrays. ``x`` and any other: (batch, length, *shape). ``y``, ``known``, ``weight``: (batch,
        horizon, *shape), and without the axis of the horizon if it is 0. ``static``: (batch, *shape), of the last
        input step. With ``every``: ``mask`` of ``x``, ``mask.y`` of ``y``, float32, 1 where a value was measured and 0
        where it was filled. With ``with_time``: ``device`` (only with ``by``) and ``time``, (batch,), of the last input
        step; on a grid the beginning of its cell.
    """
    batch: Batch = {}
    for name, values in arrays.items():
        if not name.startswith("#"):
            batch[name] = _placed(window, name, values, starts)
            if AGE + name in arrays:
                _hold(window, batch[name], values, arrays[AGE + name], starts)
    for name in list(batch):
        if masked(name) and MEASURED + name in arrays:
            batch[mask_of(name)] = _placed(window, name, arrays[MEASURED + name], starts).astype(np.float32)
    if window.with_time:
        now = starts + window.length - 1
        batch |= {"device": arrays[BY][now]} if BY in arrays else {}
        batch["time"] = arrays[ON][now]
    return batch


def _placed(window: Window, name: str, values: Array, starts: Array) -> Array:
    where = place(name)
    if where == "past":
        return sequences(values, starts, window.length)
    if where == "ahead" and window.horizon:
        return sequences(values, starts + window.length, window.horizon)
    last: Array = values[starts + window.length - 1]
    return last


def sequences(values: Array, starts: Array, length: int) -> Array:
    """``length`` steps from each start on; shape (starts, length, *shape), C-contiguous.

    Each window is copied as one piece, which is several times faster than row by row.

    Raises:
        IndexError: A window reaches past the last step.
    """
    shape = values.shape[1:]
    size = values.dtype.itemsize * math.prod(shape)
    if values.dtype.hasobject or not values.flags.c_contiguous or not size or len(values) < length or not len(starts):
        rows: Array = values[np.asarray(starts)[:, None] + np.arange(length)]
        return rows
    raw = values.reshape(-1).view(np.uint8)
    pieces = np.ndarray(len(values) - length + 1, np.dtype((np.void, length * size)), raw, 0, (size,))
    made: Array = pieces[starts].view(np.uint8).view(values.dtype).reshape(len(starts), length, *shape)
    return made


def _hold(window: Window, made: Array, values: Array, ages: Array, starts: Array) -> None:
    """Let values that lie on a line beyond the inputs' end be the last measured ones instead, in place.

    The line leads to a reading of the horizon: a model would see its target.
    """
    ends = starts + window.length - 1
    fields = math.prod(values.shape[1:])
    last = ages[ends].reshape(len(starts), fields)
    touched = np.flatnonzero((last > 0).any(axis=1))
    if not len(touched):
        return
    age = np.maximum(last[touched], 0)
    rows = ends[touched, None] - age
    held = values.reshape(len(values), fields)[rows, np.arange(fields)]
    tail = min(window.length, int(age.max()))
    back = np.arange(tail - 1, -1, -1)[:, None]  # steps from the inputs' end
    ends_of = made.reshape(len(starts), window.length, fields)[:, window.length - tail :]
    ends_of[touched] = np.where(back < age[:, None, :], held[:, None, :], ends_of[touched])
