"""Batches as PyTorch tensors."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import is_text, not_installed, numbers
from nemesyst.frameworks.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch.utils.data import IterableDataset

    from nemesyst.frameworks.batches import Array
    from nemesyst.types import Batch


def torch_dataset(
    batches: Iterable[Batch], device: str | torch.device | None = None
) -> IterableDataset[dict[str, Any]]:
    """An ``IterableDataset`` of whole batches: dicts of tensors, whose dtypes and shapes are the arrays' own.

    On the CPU the tensors share memory with the arrays; an array that is read-only (a memory map) is copied. Dates
    become int64 milliseconds since 1970 (UTC); strings and other objects stay NumPy arrays.

    For a ``DataLoader`` give ``batch_size=None``. With ``num_workers=n``, forked or spawned, persistent or not, worker
    i reads batches i, i + n, ..., over a connection of its own, and the loader yields them in the order of one
    process; each pass of the loader is the next epoch. Batches that a worker has read and the loop has not taken are
    not counted anywhere: the position of a loop is the number of batches that *it* took.

    Args:
        batches: What to read; to get to workers it has a ``recipe()``, or can be pickled.
        device: Where the tensors go; None: the CPU.

    Raises:
        FeedError: PyTorch is not installed; with a device, a worker process iterates over it.
    """
    return _again(Shares(batches), device)


def tensor(values: Array, device: str | torch.device | None = None) -> torch.Tensor | Array:
    """One array of a batch."""
    import torch

    if is_text(values):
        return values
    values = numbers(values)
    made = torch.from_numpy(values if values.flags.writeable else values.copy())
    return made if device is None else made.to(device, non_blocking=True)


def _again(shares: Shares, device: str | torch.device | None) -> IterableDataset[dict[str, Any]]:
    made: IterableDataset[dict[str, Any]] = _kind()(shares, device)
    return made


class _Tensors:
    """The methods of the dataset; PyTorch's class comes to it when it is first asked for."""

    def __init__(self, shares: Shares, device: str | torch.device | None) -> None:
        self._shares = shares
        self._device = device

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({name: tensor(values, self._device) for name, values in batch.items()} for batch in self._read())

    def _read(self) -> Iterator[Batch]:
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        if worker is None:
            return self._shares.read()
        if self._device is not None:
            raise FeedError(
                f"to_torch(device={str(self._device)!r}): a worker process of a DataLoader reads it, and a device is "
                "not used from there",
                "Leave device out here; give the DataLoader pin_memory=True and move each batch in the loop.",
            )
        return self._shares.read_share(worker.id, worker.num_workers, worker.seed - worker.id)

    def __len__(self) -> int:
        return len(self._shares)

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that the next pass reads, whichever processes read those before."""
        return self._shares.next_epoch

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._shares, self._device)  # a class that is made on demand has no place to be found at


@functools.cache
def _kind() -> Any:
    try:
        from torch.utils.data import IterableDataset
    except ImportError:
        raise not_installed("to_torch", "PyTorch", "torch") from None
    return types.new_class("FeedDataset", (_Tensors, IterableDataset))
