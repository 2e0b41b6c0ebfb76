"""Arrays that grow on disk, and the samples that several groups have in common."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.models.evaluation.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Array = np.ndarray[Any, Any]

_AT_ONCE = 1 << 19
"""Samples that are looked at together."""


class Column:
    """An array that grows in an unnamed temporary file; rows have one shape and dtype."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the column, and has no name
        self._layout: tuple[np.dtype[Any], tuple[int, ...]] | None = None
        self.rows = 0

    def add(self, values: Array) -> None:
        """Append rows."""
        values = np.ascontiguousarray(values)
        if self._layout is None:
            self._layout = values.dtype, values.shape[1:]
        self._file.write(values.astype(self._layout[0], copy=False).reshape(-1).view(np.uint8).data)
        self.rows += len(values)

    def array(self) -> Array:
        """All of them, memory-mapped."""
        if self._layout is None or not self.rows:
            return np.empty(0)
        self._file.flush()
        dtype, shape = self._layout
        if not np.prod(shape, dtype=int):
            return np.empty((self.rows, *shape), dtype)
        return np.memmap(self._file, dtype, "r", shape=(self.rows, *shape))


class Spilled:
    """The samples of one group: who they are, and what each adds to the sums."""

    def __init__(self) -> None:
        self._columns = [Column() for _ in range(4)]

    def add(self, found: Identity, parts: Array) -> None:
        """Append samples."""
        for column, values in zip(self._columns, (*found, parts), strict=True):
            column.add(values)

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._columns[0].rows

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Key, device, time, parts."""
        key, device, time, parts = (column.array() for column in self._columns)
        return key, device, time, parts


def common(groups: Sequence[Spilled]) -> Iterator[tuple[Identity, Array, list[Array]]]:
    """Samples that all groups have, a portion at a time, in an order that follows device and time.

    Yields:
        Who they are; what they add, of all groups side by side; and their places in each group.
    """
    found = [group.arrays() for group in groups]
    most = max(group.rows for group in groups)
    bits = max(most // _AT_ONCE, 1).bit_length() - 1 + (most > _AT_ONCE)
    for number in range(1 << bits):
        places = [_portion(arrays[0], number, bits) for arrays in found]
        shared = found[0][0][places[0]]
        for arrays, own in zip(found[1:], places[1:], strict=True):
            shared = np.intersect1d(shared, arrays[0][own])
        chosen = [own[_lookup(arrays[0][own], shared)] for arrays, own in zip(found, places, strict=True)]
        key, device, time, _ = found[0]
        first = chosen[0]
        order = np.lexsort((time[first], device[first]))
        chosen = [own[order] for own in chosen]
        who = Identity(key[chosen[0]], device[chosen[0]], time[chosen[0]])
        yield who, np.concatenate([arrays[3][own] for arrays, own in zip(found, chosen, strict=True)], axis=1), chosen


def _portion(keys: Array, number: int, bits: int) -> Array:
    """Places of the keys whose first bits are a number, looked for a portion at a time."""
    if not bits:
        return np.arange(len(keys))
    shift = np.uint64(64 - bits)
    pieces = [
        begin + np.flatnonzero(keys[begin : begin + _AT_ONCE] >> shift == number)
        for begin in range(0, len(keys), _AT_ONCE)
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


def _lookup(keys: Array, wanted: Array) -> Array:
    order = np.argsort(keys, kind="stable")
    found: Array = order[np.searchsorted(keys[order], wanted)]
    return found
