"""Workers that train one JAX model together, by ``jax.distributed``: gloo on the CPU, nccl on GPUs."""

from __future__ import annotations

import pickle
import random
from importlib import import_module
from typing import Any, Self

import numpy as np

from nemesyst.run.parallel.trees import map_leaves


class JaxGroup:
    """A group over JAX's own collectives.

    Attributes:
        rank: Number of this worker, from 0.
        size: How many there are.
        device: ``"cpu"`` or ``"gpu"``: where JAX puts arrays.
    """

    def __init__(self) -> None:
        jax = _jax()
        self.rank = jax.process_index()
        self.size = jax.process_count()
        self.device = jax.default_backend()
        firsts = {device.process_index: device for device in reversed(jax.devices())}
        self._mesh = jax.sharding.Mesh(np.array([firsts[rank] for rank in range(self.size)]), ("worker",))
        spec = jax.sharding.PartitionSpec
        self._apart = jax.sharding.NamedSharding(self._mesh, spec("worker"))
        alike = jax.sharding.NamedSharding(self._mesh, spec())
        self._average = jax.jit(lambda rows: rows.mean(0), out_shardings=alike)
        self._first = jax.jit(lambda rows: rows[0], out_shardings=alike)

    @classmethod
    def join(cls, place: str, rank: int, size: int) -> Self:
        """Join the others, before JAX is used; waits for all.

        Args:
            place: Address and port of rank 0.
            rank: Number of this worker.
            size: How many there are.
        """
        jax = _jax()
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(place, size, rank)
        return cls()

    @staticmethod
    def leave() -> None:
        """Leave the others."""
        jax = _jax()
        jax.distributed.shutdown()

    def prepare(self, *things: Any) -> Any:
        """Give trees of arrays the values of rank 0; whatever else there is stays as it is.

        Ranks other than 0 are then seeded differently (Python, NumPy). JAX's keys are the function's own:
        ``jax.random.fold_in(key, run.rank)`` makes a rank's.
        """
        prepared = tuple(self._prepared(thing) for thing in things)
        if self.rank:
            random.seed((seed := random.getrandbits(62)) + self.rank)
            np.random.seed((seed + self.rank) % 2**32)  # noqa: NPY002 - the global generator is what is to be seeded
        return prepared[0] if len(prepared) == 1 else prepared

    def _prepared(self, thing: Any) -> Any:
        jax = _jax()
        leaves, shape = jax.tree.flatten(thing)
        if not leaves or not all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
            return thing
        return jax.tree.unflatten(shape, [self._together(leaf, self._first) for leaf in leaves])

    def unwrapped(self, model: Any) -> Any:
        """The same model: nothing is wrapped."""
        return model

    def mean(self, value: Any) -> Any:
        """The mean of a number, an array, or a tree of them (gradients); every rank gives the same shapes."""
        jax = _jax()
        leaves, shape = jax.tree.flatten(value)
        if any(isinstance(leaf, jax.Array) for leaf in leaves):
            return jax.tree.unflatten(shape, [self._together(leaf, self._average) for leaf in leaves])
        return map_leaves(self._mean, value)

    def _mean(self, leaf: Any) -> Any:
        averaged = np.mean(self._rows(np.asarray(leaf, None if hasattr(leaf, "dtype") else "f8")), axis=0)
        return averaged if isinstance(leaf, np.ndarray) else float(averaged)

    def _together(self, leaf: Any, reduce: Any) -> Any:
        """What is made of the workers' arrays, as an array of this worker's own device."""
        jax = _jax()
        rows = jax.make_array_from_process_local_data(self._apart, np.asarray(leaf)[None])
        return jax.numpy.asarray(reduce(rows).addressable_data(0))

    def _rows(self, array: Any) -> Any:
        from jax.experimental import multihost_utils

        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)  # JAX would make float64 float32
        gathered = np.asarray(multihost_utils.process_allgather(raw))
        return gathered.reshape(self.size, -1).view(array.dtype).reshape(self.size, *array.shape)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any worker."""
        return bool(self._rows(np.asarray(bool(flag))).any())

    def gather(self, value: Any) -> list[Any]:
        """A small picklable value of each worker, by rank."""
        data = pickle.dumps(value)
        sizes = self._rows(np.asarray(len(data)))
        padded = np.frombuffer(data.ljust(int(sizes.max()), b"\0"), np.uint8)
        rows = self._rows(padded)
        return [pickle.loads(row.tobytes()[:size]) for row, size in zip(rows, sizes, strict=True)]  # noqa: S301 - ours

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        return self.gather(value if self.rank == 0 else None)[0]


def _jax() -> Any:
    return import_module("jax")  # as a plain value: much of it is not typed
