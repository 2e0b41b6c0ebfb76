"""Bytes that must be the same in every row, and checking them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nemesyst.feed.decode.cells import Block
    from nemesyst.feed.decode.kinds import Array

_GAP = 64
_GROUP = 4096
_NARROW, _TALL = 128, 1024
"""Bytes at most, and rows at least, that are checked column by column: from row to row takes longer than to read."""
_ALL = (1 << 64) - 1


@dataclass(frozen=True)
class Structure:
    """What of a row is types, keys and lengths, and not values.

    Attributes:
        model: A row as it must be, uint8 of shape (width,).
        counts: 255 for each byte that must be the same, else 0; uint8 of shape (width,).
    """

    model: Array
    counts: Array
    _longer: dict[int, _Part] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _parts(self) -> list[_Part]:
        """Stretches of bytes to look at: long values between them are left out."""
        fixed = np.flatnonzero(self.counts)
        breaks = np.flatnonzero(np.diff(fixed) > _GAP)
        firsts, lasts = fixed[np.append(0, breaks + 1)].tolist(), fixed[np.append(breaks, -1)].tolist()
        return [
            _Part(slice(a, b + 1), self.counts[a : b + 1], self.model[a : b + 1])
            for a, b in zip(firsts, lasts, strict=True)
        ]

    @cached_property
    def looked_at(self) -> int:
        """Bytes of a row that are read to check it."""
        return sum(len(part.counts) for part in self._parts)

    def fits(self, block: Block) -> bool:
        """Whether all rows of a block are as the model."""
        dense = block.stride < 2 * self.looked_at + 32
        group = _GROUP // block.stride if dense else 1
        count = (block.size - 1) // group if group > 1 else 0  # groups; never the last row: what follows it is not ours
        if count and not self._repeated(block.stride, group).all_fit(
            np.ndarray((count, group * block.stride), np.uint8, block.buffer, block.start)
        ):
            return False
        rest = block.matrix(len(self.model))[count * max(group, 1) :]
        return all(part.all_fit(rest) for part in self._parts)

    def _repeated(self, stride: int, group: int) -> _Part:
        """The model of several short rows as of one: the fewer rows, the less time goes into going from row to row."""
        if stride not in self._longer:
            rows = np.zeros((2, group, stride), np.uint8)
            rows[0, :, : len(self.counts)] = self.counts
            rows[1, :, : len(self.model)] = self.model
            self._longer[stride] = _Part(slice(None), *rows.reshape(2, -1))
        return self._longer[stride]


class _Part:
    """A stretch of bytes as it must be."""

    def __init__(self, here: slice, counts: Array, model: Array) -> None:
        self.here, self.counts, self.model = here, counts, model & counts

    def all_fit(self, matrix: Array) -> bool:
        """Whether all rows are so."""
        part = matrix[:, self.here]
        if 8 <= part.shape[1] <= _NARROW and len(part) >= _TALL:
            return all(self._fits(part[:, offset : offset + 8], mask, head) for offset, mask, head in self._words)
        # a byte is, if their OR is their AND: two passes that write nothing
        return bool(
            ((np.bitwise_or.reduce(part, axis=0) & self.counts) == self.model).all()
            and ((np.bitwise_and.reduce(part, axis=0) & self.counts) == self.model).all()
        )

    @staticmethod
    def _fits(eight: Array, mask: int, head: int) -> bool:
        words = eight.view("<u8")[:, 0]
        return bool(((words if mask == _ALL else words & mask) == head).all())

    @cached_property
    def _words(self) -> list[tuple[int, int, int]]:
        """Offset, mask and content of eight bytes each, until all that count are among them."""
        found, covered = [], 0
        for byte in np.flatnonzero(self.counts).tolist():
            if byte >= covered:
                first = min(byte, len(self.counts) - 8)
                mask, head = (int(each[first : first + 8].view("<u8")[0]) for each in (self.counts, self.model))
                found.append((first, mask, head))
                covered = first + 8
        return found
