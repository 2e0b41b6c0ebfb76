"""Reading the other side of a join under the cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.database import Reread
from nemesyst.feed.decode import Decoder
from nemesyst.feed.decode.frame import without
from nemesyst.feed.joins import united

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nemesyst.database import Cutoff

Branches = list[list[Any]]


def reader_of(cutoff: Cutoff) -> Callable[[Any], Iterator[memoryview]]:
    """What reads rows of the other collection, without those that came after the cutoff."""

    def read(branches: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[memoryview]:
        while True:
            try:
                with cutoff.read(stages=united(cutoff.collection, branches)) as found:
                    batches = list(found)
                    excluded = found.excluded if found.way in ("stream", "stamp") else None
                break
            except Reread:
                continue
        for batch in batches:
            kept = None if excluded is None else excluded.keep(Decoder(["_id"]).decode(batch).ids())
            yield batch if kept is None or kept.all() else memoryview(without(batch, kept))

    return read
