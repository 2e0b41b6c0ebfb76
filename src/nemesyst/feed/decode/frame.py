"""Where the documents of a batch lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nemesyst.feed.decode.kinds import DOCUMENT, Array, damaged
from nemesyst.feed.decode.starts import starts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PAD = 1024
"""Zero bytes behind a batch, so that a gather of whole words and the comparison of a long key stay inside."""
_LENGTH = struct.Struct("<i")
_LEAST = 5


class Run(NamedTuple):
    """Documents ``first`` to ``last`` (exclusive), of one length, ``stride`` bytes apart, the first at ``start``."""

    first: int
    last: int
    start: int
    stride: int


@dataclass(frozen=True)
class Frame:
    """A batch and the offsets of its documents.

    Attributes:
        batch: The bytes of a BSON array of documents.
        starts: Offset of each document, shape (rows,).
        ends: Offset of the zero byte that closes each document, shape (rows,).
        runs: The same as runs of one stride each, when all documents have one length; else empty.
        width: That length, else 0.
    """

    batch: bytes | memoryview
    starts: Array
    ends: Array
    runs: Sequence[Run] = ()
    width: int = 0

    @property
    def rows(self) -> int:
        """Number of documents."""
        return len(self.starts)

    @cached_property
    def raw(self) -> bytes:
        """The batch with zero bytes behind it."""
        return b"".join((self.batch, bytes(PAD)))

    @property
    def plain(self) -> bytes:
        """The batch as bytes, perhaps with more behind it."""
        return self.batch if isinstance(self.batch, bytes) else self.raw

    @cached_property
    def data(self) -> Array:
        """``raw`` as uint8."""
        return np.frombuffer(self.raw, np.uint8)

    @cached_property
    def words(self) -> Array:
        """The eight bytes from each byte on, as one uint64: ``words[offsets]`` reads values at any offsets."""
        return np.ndarray((len(self.raw) - 7,), "<u8", self.raw, strides=(1,))

    def document(self, row: int) -> bytes:
        """The bytes of one document."""
        return bytes(self.batch[self.starts[row] : self.ends[row] + 1])

    def rest(self, at: int) -> bytes:
        """The bytes from an offset to the end of the document that it is in."""
        return bytes(self.batch[at : self.ends[np.searchsorted(self.starts, at, side="right") - 1] + 1])


def frame(batch: bytes | memoryview) -> Frame:
    """Find the documents in the bytes of a BSON array.

    Raises:
        RecordError: The bytes are not a BSON array of documents.
    """
    batch = batch if isinstance(batch, bytes) else memoryview(batch).cast("B")
    if len(batch) < _LEAST or _LENGTH.unpack_from(batch)[0] != len(batch) or batch[-1] != 0:
        raise damaged(f"its length is not that of its {len(batch)} bytes")
    return _even(batch) or _uneven(batch)


def _even(batch: bytes | memoryview) -> Frame | None:
    """The frame when all documents have one length, else None."""
    width = _LENGTH.unpack_from(batch, 7)[0] if len(batch) > 11 else 0
    left, start, row, digits = len(batch) - _LEAST, 4, 0, 1
    runs = []
    while left > 0:
        stride, limit = digits + 2 + width, 9 * 10 ** (digits - 1) + (digits == 1)
        count = min(limit, left // stride) if width >= _LEAST else 0
        if count == 0 or (count < limit and left != count * stride):
            return None
        runs.append(Run(row, row + count, start + digits + 2, stride))
        left, start, row, digits = left - count * stride, start + count * stride, row + count, digits + 1
    if not all(_holds(batch, run, width) for run in runs):
        return None
    starts = [np.arange(run.last - run.first, dtype=np.int64) * run.stride + run.start for run in runs]
    joined = np.concatenate(starts) if starts else np.empty(0, np.int64)
    return Frame(batch, joined, joined + (width - 1), runs, width)


def _holds(batch: bytes | memoryview, run: Run, width: int) -> bool:
    count = (run.last - run.first,)

    def bytes_at(offset: int, dtype: str = "u1") -> Array:
        return np.ndarray(count, dtype, batch, run.start + offset, (run.stride,))

    key = run.stride - width
    return bool(
        (bytes_at(0, "<i4") == width).all()
        and (bytes_at(-key) == DOCUMENT).all()
        and not bytes_at(-1).any()
        and not bytes_at(width - 1).any()
    )


def _uneven(batch: bytes | memoryview) -> Frame:
    begin = starts_of(batch)
    lengths = np.ndarray((len(batch) - 3,), "<i4", batch, strides=(1,))[begin].astype(np.int64)
    end = begin + lengths - 1
    data = np.frombuffer(batch, np.uint8)
    digits = np.repeat(np.arange(1, 10), np.diff(np.minimum(10 ** np.arange(1, 10), len(begin)), prepend=0))
    if (lengths < _LEAST).any() or data[begin - 1].any() or (data[begin - 2 - digits] != DOCUMENT).any():
        raise damaged("an element of it is not a document")
    if data[end].any():
        raise damaged("a document has no end")
    return Frame(batch, begin, end)


def without(batch: memoryview, kept: Array) -> bytes:
    """The documents of a batch that are kept, as a batch.

    Args:
        batch: The bytes of a BSON array of documents.
        kept: Which ones, shape (rows,).
    """
    found = frame(batch)
    return array_of([found.document(int(row)) for row in np.flatnonzero(kept)])


def split_last(batch: memoryview | bytes) -> tuple[bytes, bytes | None]:
    """The last document of a batch, and the batch without it; None if it was the only one."""
    found = frame(batch)
    last = found.document(found.rows - 1)
    if found.rows == 1:
        return last, None
    end = int(found.starts[-1]) - len(str(found.rows - 1)) - 2
    return last, b"".join((_LENGTH.pack(end + 1), memoryview(batch)[4:end], b"\0"))


def array_of(documents: Sequence[bytes]) -> bytes:
    """Documents as the bytes of a BSON array."""
    body = b"".join(b"\x03" + str(row).encode() + b"\0" + document for row, document in enumerate(documents))
    return _LENGTH.pack(len(body) + _LEAST) + body + b"\0"
