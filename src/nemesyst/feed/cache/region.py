"""Reserving room in the streams of an entry for the rows of a chunk, and writing them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.cache.coded import UnfitError
from nemesyst.feed.cache.schema import PLAIN
from nemesyst.feed.cache.streams import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.cache.schema import Schema
    from nemesyst.feed.cache.streams import Stream
    from nemesyst.feed.table import Array

_MOST = np.iinfo(np.int32).max


def reserve(streams: Sequence[Stream], counts: Sequence[int], taken: Sequence[int]) -> list[int]:
    """Reserve room for so many items in each stream, behind everything else; rows at the same place in all columns.

    To be called with the folder's writing lock held. A process that is killed after this leaves a hole, of no harm.

    Args:
        streams: Those of the entry.
        counts: Items for each.
        taken: Items of each that records name; a file may have become shorter than that.

    Returns:
        The first item for each.
    """
    starts = [max(stream.size(), end) for stream, end in zip(streams, taken, strict=True)]
    together = max((start for stream, start in zip(streams, starts, strict=True) if stream.spec.rows), default=0)
    starts = [together if stream.spec.rows else start for stream, start in zip(streams, starts, strict=True)]
    for stream, start, count in zip(streams, starts, counts, strict=True):
        stream.extend(start + count)
    return starts


def write(schema: Schema, streams: Sequence[Stream], starts: Sequence[int], parts: list[Array]) -> list[int]:
    """Write what the streams hold of a table into its reserved room; gives the digest of each.

    Raises:
        UnfitError: There are more distinct texts or objects than codes.
        OSError: No room, no right.
    """
    for column, first in zip(schema.columns, schema.first, strict=True):
        if column.kind != PLAIN:  # from counting within the chunk to counting within the entry
            if starts[first + 1] + len(parts[first + 1]) > _MOST:
                raise UnfitError(f"array {column.name} has more than {_MOST:,} distinct values")
            parts[first] = parts[first] + np.int32(starts[first + 1])
            parts[first + 1] = parts[first + 1] + np.array([starts[first + 2], 0])
    for stream, start, part in zip(streams, starts, parts, strict=True):
        stream.write(start, part)
    return [digest(part) for part in parts]
