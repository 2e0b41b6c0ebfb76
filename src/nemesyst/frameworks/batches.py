"""What a conversion needs to know of a feed: batches that can be read again, and what their arrays look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]
Layout = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Dtype of each array and its shape behind the rows."""


class Batches(Protocol):
    """Batches that can be read again; each iteration is the next epoch.

    ``len()`` gives the batches of an epoch where that is known, and raises ``TypeError`` where it is not.
    """

    @property
    def layout(self) -> Layout:
        """Dtype of each array and its shape behind the rows, known before anything is read."""

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""


class Opener(Protocol):
    """How another process reads the same batches; it is pickled to get there, without secrets."""

    def open(self, worker: int, workers: int) -> Handed:
        """Connect anew, and read batches ``worker``, ``worker + workers``, ... of each epoch.

        Taken in turns from each worker, the batches come in the order that one process would read them in.
        """


class Handed(Protocol):
    """Batches that can be handed to other processes.

    Attributes:
        epoch: Number of the epoch that the next iteration reads; may be set. When it is not, an epoch that was
            interrupted goes on.
    """

    epoch: int

    @property
    def layout(self) -> Layout:
        """See :class:`Batches`."""

    def __iter__(self) -> Iterator[Batch]:
        """See :class:`Batches`."""

    def recipe(self) -> Opener:
        """How another process reads them; also called in a forked child, so it must not use the connection."""


def is_handed(batches: object) -> TypeGuard[Handed]:
    """Whether batches can be handed to other processes."""
    return hasattr(type(batches), "recipe")


def length(batches: Batches) -> int | None:
    """Batches of an epoch, or None where that is not known."""
    try:
        return len(batches)  # type: ignore[arg-type] # not all of them have a length
    except TypeError:
        return None


def not_installed(doing: str, name: str, extra: str) -> FeedError:
    """The error of a framework that is not there."""
    return FeedError(f"{doing}: {name} is not installed", f"pip install 'nemesyst[{extra}]'")


def numbers(values: Array) -> Array:
    """Dates as int64 milliseconds since 1970 (UTC), without a copy; other arrays as they are."""
    return values.astype("datetime64[ms]", copy=False).view(np.int64) if values.dtype.kind == "M" else values


def is_text(values: Array) -> bool:
    """Whether an array holds strings or other Python objects, which no framework has tensors of."""
    return values.dtype.kind in "UOSV"


def grouped(batch: Mapping[str, Any], name: str) -> Any:
    """What a model takes by a name: the array, or those named ``name.part`` by their parts; None if there are none."""
    if name in batch:
        return batch[name]
    return {key.removeprefix(f"{name}."): values for key, values in batch.items() if key.startswith(f"{name}.")} or None
