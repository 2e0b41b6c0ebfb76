"""Workers that train one PyTorch model together, by ``DistributedDataParallel``."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np

from nemesyst.frameworks import seed_all
from nemesyst.run.parallel.trees import map_leaves

_APART = 1_000_003
"""Between the seeds of two ranks."""


class TorchGroup:
    """A group over ``torch.distributed``: gloo on the CPU, nccl on GPUs.

    Args:
        device: Where this worker's model belongs.

    Attributes:
        rank: Number of this worker, from 0.
        size: How many there are.
        device: Where this worker's model belongs, such as ``"cpu"`` or ``"cuda:1"``.
    """

    def __init__(self, device: str = "cpu") -> None:
        from torch import distributed

        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self.device = device
        on_gpu = distributed.get_backend() != "gloo"
        self._objects: Any = distributed.new_group(backend="gloo") if on_gpu else None  # None: the group of all

    @classmethod
    def join(cls, gpus: float = 0.0) -> Self:
        """Join the others, who are found by the environment that a launcher sets; waits for all.

        Args:
            gpus: GPUs of each worker; the first of its own is its device.
        """
        import torch
        from torch import distributed

        device = "cpu"
        if gpus and torch.cuda.is_available():
            index = int(int(os.environ.get("LOCAL_RANK", "0")) * gpus) % torch.cuda.device_count()
            torch.cuda.set_device(index)
            device = f"cuda:{index}"
        if not distributed.is_initialized():
            distributed.init_process_group("gloo" if device == "cpu" else "nccl")
        return cls(device)

    @staticmethod
    def leave() -> None:
        """Leave the others."""
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()

    def prepare(self, *things: Any) -> Any:
        """Move modules to the device and wrap them; parameters and buffers begin as those of rank 0.

        The function has drawn the same random numbers on every rank until here, so that models begin alike; from the
        first call on each rank draws its own (dropout, augmentation): rank 0 goes on as one worker would, the others
        are seeded with the seed plus a multiple of their rank. Whatever is no module (an optimiser, a schedule) is
        given back as it is: the parameters stay the same objects.
        """
        import torch

        prepared = tuple(self._prepared(thing) for thing in things)
        if self.rank and any(isinstance(thing, torch.nn.Module) for thing in things):
            seed_all((torch.initial_seed() + _APART * self.rank) % 2**63)
        return prepared[0] if len(prepared) == 1 else prepared

    def _prepared(self, thing: Any) -> Any:
        import torch
        from torch.nn.parallel import DistributedDataParallel

        if not isinstance(thing, torch.nn.Module) or isinstance(thing, DistributedDataParallel):
            return thing
        thing.to(self.device)
        if not any(parameter.requires_grad for parameter in thing.parameters()):
            return thing  # there is nothing to train
        return DistributedDataParallel(thing, device_ids=None if self.device == "cpu" else [self.device])

    def unwrapped(self, model: Any) -> Any:
        """The module inside, or the same thing."""
        from torch.nn.parallel import DistributedDataParallel

        return model.module if isinstance(model, DistributedDataParallel) else model

    def mean(self, value: Any) -> Any:
        """The mean of a number, an array, a tensor, or a dict or list of such; every rank gives the same shapes.

        Numbers and integer arrays are averaged as float64; floating arrays and tensors keep their dtype.
        """
        return map_leaves(self._mean, value)

    def _mean(self, leaf: Any) -> Any:
        import torch
        from torch import distributed

        if isinstance(leaf, torch.Tensor):
            total = leaf.detach().clone() if leaf.is_floating_point() else leaf.detach().double()
            group = self._objects if total.device.type == "cpu" else None
            distributed.all_reduce(total, group=group)
            return total / self.size
        array = np.asarray(leaf)
        floating = array.astype(array.dtype if array.dtype.kind == "f" and array.dtype.itemsize > 2 else "f8")
        total = torch.from_numpy(np.array(floating, order="C"))
        distributed.all_reduce(total, group=self._objects)
        averaged = total.numpy() / self.size
        return averaged if isinstance(leaf, np.ndarray) else float(averaged)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any worker."""
        import torch
        from torch import distributed

        raised = torch.tensor(int(bool(flag)))
        distributed.all_reduce(raised, distributed.ReduceOp.MAX, group=self._objects)
        return bool(raised)

    def gather(self, value: Any) -> list[Any]:
        """A small picklable value of each worker, by rank."""
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value, group=self._objects)
        return found

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        from torch import distributed

        held = [value]
        distributed.broadcast_object_list(held, src=0, group=self._objects)
        return held[0]
