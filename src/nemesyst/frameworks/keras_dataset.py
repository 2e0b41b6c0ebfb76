"""Batches as what ``model.fit`` of Keras 3 wants, whatever its backend."""

from __future__ import annotations

import functools
import types
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import grouped, length, not_installed
from nemesyst.frameworks.randomness import random_states, restore_random_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.frameworks.batches import Batches
    from nemesyst.types import Batch


def keras_data(batches: Batches) -> Any:
    """Data for ``fit``, ``evaluate`` and ``predict`` of a Keras model, on the backends torch, TensorFlow and JAX.

    It gives Keras ``(x, y)``, or ``(x, y, weight)``: the arrays of these names; ``x.seq`` and ``x.static`` become a
    dict for a model whose inputs are named so. Each epoch of ``fit`` is the feed's next epoch, in the feed's order
    (``shuffle=`` and ``class_weight=`` of ``fit`` have no effect: a feed shuffles, and has ``weight=``). It may be
    given as ``validation_data``, too. Where ``len()`` of the feed is not known, Keras warns at the end of an epoch that
    the data ran out: that is the end of the epoch.

    Raises:
        FeedError: Keras is not installed, or there is no array ``x``.
    """
    if grouped(batches.layout, "x") is None:
        raise FeedError(
            f"to_keras: the feed has the arrays {', '.join(sorted(batches.layout))}, and a model learns from x and y",
            'Name them: inputs=["air", "power"], targets=["air"].',
        )
    return _kind()(batches)


def example(arrays: Mapping[str, Any]) -> tuple[Any, ...]:
    """A batch as a tuple: x; x and y; or x, y and weight."""
    parts = [grouped(arrays, name) for name in ("x", "y", "weight")]
    while parts[-1] is None:
        parts.pop()
    return tuple(parts)


class _Stream:
    """The methods of the data; Keras's class comes to it when it is first asked for.

    A ``PyDataset`` is asked for batches by index, also for some that are then dropped, and ``fit`` takes a generator
    for one epoch alone. The adapter that Keras wraps around any kind of data suits a stream, and ``fit`` takes one.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._begun: tuple[Batch, Iterator[Batch]] | None = None
        self._drawn: dict[str, Any] = {}

    def get_numpy_iterator(self) -> Iterator[tuple[Any, ...]]:
        return (example(batch) for batch in self._epoch())

    get_jax_iterator = get_numpy_iterator

    def get_torch_dataloader(self) -> Any:
        from keras.src.trainers.data_adapters import data_adapter_utils

        from nemesyst.frameworks.torch_dataset import tensor

        tensors = ({name: tensor(values) for name, values in batch.items()} for batch in self._epoch())
        return data_adapter_utils.get_torch_dataloader(example(batch) for batch in tensors)

    def get_tf_dataset(self) -> Any:
        from nemesyst.frameworks.tensorflow_dataset import imported, plain, spec

        signature = {name: spec(name, dtype, shape) for name, (dtype, shape) in self._batches.layout.items()}

        def epoch() -> Iterator[tuple[Any, ...]]:
            return (example({name: plain(name, batch[name]) for name in signature}) for batch in self._epoch())

        made = imported().data.Dataset.from_generator(epoch, output_signature=example(signature))
        return made.prefetch(1)

    def _epoch(self) -> Iterator[Batch]:
        """One epoch; one of which Keras saw no more than the first batch, to build the model, goes on."""
        known = length(self._batches)
        if self._begun is None:
            self._drawn = random_states()
        else:  # a first look draws numbers, and only the first fit of a process takes one: none may depend on it
            restore_random_states(self._drawn)
        first, rest = self._begun or _begin(self._batches)
        self._begun = None if first is None or known == 1 else (first, rest)
        for number, batch in enumerate(() if first is None else chain([first], rest), 1):
            if number == 2:
                self._begun = None
            # Keras does not ask again after the number that it knows, and the feed should see its epoch end
            more = list(islice(rest, 1)) if number == known else []
            yield batch
            yield from more

    @property
    def num_batches(self) -> int | None:
        return length(self._batches)

    batch_size = None
    has_partial_batch = False
    partial_batch_size = None


def _begin(batches: Batches) -> tuple[Batch | None, Iterator[Batch]]:
    rest = iter(batches)
    return next(rest, None), rest


@functools.cache
def _kind() -> Any:
    try:
        from keras.src.trainers.data_adapters.data_adapter import DataAdapter
    except ImportError:
        raise not_installed("to_keras", "Keras 3", "keras") from None
    return types.new_class("FeedData", (_Stream, DataAdapter))
