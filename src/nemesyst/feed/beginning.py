"""The first rows of a plan: dtypes and sizes are told from them, and the first chunks are cut out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bson import decode

from nemesyst.feed.decode.frame import array_of, frame
from nemesyst.feed.plan.key import EXACT, type_of
from nemesyst.feed.plan.sizes import CHUNK_BYTES, rows_of_chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemesyst.feed.decode.frame import Frame
    from nemesyst.feed.plan import Bound, Key

FEW = 16
"""Rows from which it is told how many fit."""
_COUNTED = 2
"""Chunks whose ends are counted off whatever their size; see ``Bounds``, which divides what comes behind them."""


def fitting(batches: Iterable[memoryview], most: int) -> tuple[list[memoryview | bytes], bool]:
    """The first documents, at most so many; fewer of large ones, so that they are no more than about a chunk.

    Args:
        batches: BSON arrays of documents; no more of them are taken than are needed.
        most: How many documents at most.

    Returns:
        The documents as batches, and whether there are no others.
    """
    found: list[memoryview | bytes] = []
    rows, wanted = 0, most
    for batch in batches:
        here = frame(batch)
        if not found:
            wanted = _wanted(here, most)
        if rows + here.rows > wanted:
            kept = [here.document(row) for row in range(wanted - rows)]
            return [*found, array_of(kept)], False
        found.append(batch)
        rows += here.rows
        if rows == wanted:
            return found, False
    return found, True


def _wanted(here: Frame, most: int) -> int:
    """How many documents fit, by the size of the first ones."""
    few = min(FEW, most)
    if here.rows < few:
        return few
    size = int(here.ends[few - 1]) + 2  # of these as a batch of their own
    return max(few, min(most, CHUNK_BYTES * few // size))


class Beginning(NamedTuple):
    """The first chunks.

    Attributes:
        bounds: Their first bounds, and that of the chunk behind them.
        rows: The rows of each, as a batch.
        complete: Whether there are no others; then there is no bound behind them.
    """

    bounds: Sequence[Bound]
    rows: Sequence[bytes]
    complete: bool


def beginning(batches: Sequence[memoryview | bytes], key: Key, most: int, *, all_rows: bool) -> Beginning | None:
    """The chunks that the first rows of a collection hold as a whole, cut as ``Bounds`` cuts them.

    Args:
        batches: The first rows, in the order of a key that no two of them share.
        key: The key.
        most: Rows of the largest chunks.
        all_rows: Whether there are no other rows.

    Returns:
        None where they hold no whole chunk.
    """
    frames = [frame(batch) for batch in batches]
    documents = [each.document(row) for each in frames for row in range(each.rows)]

    def bound(row: int) -> Bound:
        return key.of(decode(documents[row], EXACT))

    bounds = [bound(0)] if documents else []
    rows: list[bytes] = []
    at = 0
    while at < len(documents):
        chunk = len(rows)
        size = rows_of_chunk(chunk, most)
        if size == most and chunk >= _COUNTED:
            break
        end = at + size
        if end >= len(documents) and not all_rows:
            break
        rows.append(array_of(documents[at:end]))
        at = end
        if at < len(documents):
            bounds.append(bound(at))
    if not rows or type_of(bounds[0][0]) != type_of(bound(min(at, len(documents) - 1))[0]):
        return None
    return Beginning(bounds, rows, complete=all_rows and at >= len(documents))
