"""Rows as the server gives them, and what gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from nemesyst.feed.decode.frame import without

if TYPE_CHECKING:
    from nemesyst.feed.plan import Bound

Array = np.ndarray[Any, Any]


class Raw(NamedTuple):
    """Some documents of a chunk.

    Attributes:
        batch: A BSON array of documents.
        kept: Which of them were there at the cutoff, shape (rows,); None: all.
    """

    batch: memoryview | bytes
    kept: Array | None = None

    def rows(self) -> memoryview | bytes:
        """The documents that were there, as a batch: what came later is not even decoded, as it may be anything."""
        return self.batch if self.kept is None or self.kept.all() else without(memoryview(self.batch), self.kept)


class Rows(Protocol):
    """Where the rows of chunks come from."""

    @property
    def complete(self) -> bool:
        """Whether it is known how many chunks there are."""
        ...

    def chunks(self) -> int:
        """How many there are."""
        ...

    def rows_of(self, chunk: int) -> int:
        """About how many documents a chunk has."""
        ...

    def all_bounds(self) -> list[Bound]:
        """The first bound of each chunk."""
        ...

    def bounds_of(self, chunk: int) -> tuple[Bound, Bound | None] | None:
        """The first bound of a chunk and that of the next (None: there is none); None after the last chunk."""
        ...

    def read(self, chunk: int, *, exact: bool = False) -> list[Raw]:
        """The rows of a chunk, in the plan's order; ``exact``: those of one key by their ``_id``."""
        ...
