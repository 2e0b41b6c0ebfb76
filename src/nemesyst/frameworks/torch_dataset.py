"""Batches as PyTorch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch.utils.data import IterableDataset

    from nemesyst.types import Batch


def torch_dataset(batches: Iterable[Batch], device: str | None) -> IterableDataset[dict[str, torch.Tensor]]:
    """An ``IterableDataset`` of whole batches, whose tensors share memory with the arrays on the CPU.

    Raises:
        FeedError: PyTorch is not installed; a worker process of a ``DataLoader`` iterates over it.
    """
    try:
        import torch
        from torch.utils.data import IterableDataset, get_worker_info
    except ImportError:
        raise FeedError("to_torch: PyTorch is not installed", "pip install 'nemesyst[torch]'") from None

    class Batches(IterableDataset[dict[str, torch.Tensor]]):
        """See :func:`torch_dataset`."""

        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            if get_worker_info() is not None:
                raise FeedError(
                    "to_torch: a worker process of a DataLoader cannot read a feed: a client does not survive a fork",
                    "Use num_workers=0; batches come whole, so batch_size=None.",
                )
            for batch in batches:
                yield {name: _tensor(values, device) for name, values in batch.items()}

    def _tensor(values: Any, device: str | None) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor if device is None else tensor.to(device)

    return Batches()
