"""The conversions as methods: what a feed inherits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    import torch
    from torch.utils.data import IterableDataset

    from nemesyst.frameworks.batches import Layout
    from nemesyst.types import Batch


class Conversions(ABC):
    """Batches for every framework, each of which is imported only when it is asked for."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Dtype of each array and its shape behind the rows."""

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""

    def names(self) -> Mapping[str, Sequence[str]]:
        """Fields of the columns of each array, for :meth:`to_pandas`."""
        return {}

    def to_torch(self, device: str | torch.device | None = None) -> IterableDataset[dict[str, Any]]:
        """A PyTorch ``IterableDataset`` of whole batches; see ``torch_dataset``.

        Raises:
            FeedError: PyTorch is not installed.
        """
        from nemesyst.frameworks.torch_dataset import torch_dataset

        return torch_dataset(self, device)

    def to_tensorflow(self) -> Any:
        """A ``tf.data.Dataset`` of whole batches; see ``tensorflow_dataset``.

        Raises:
            FeedError: TensorFlow is not installed.
        """
        from nemesyst.frameworks.tensorflow_dataset import tensorflow_dataset

        return tensorflow_dataset(self)

    def to_keras(self) -> Any:
        """Data for ``fit``, ``evaluate`` and ``predict`` of Keras 3; see ``keras_data``.

        Raises:
            FeedError: Keras is not installed, or the feed has no array ``x``.
        """
        from nemesyst.frameworks.keras_dataset import keras_data

        return keras_data(self)

    def to_jax(self, device: Any = None) -> Iterator[dict[str, Any]]:
        """The next epoch as dicts of JAX arrays; see ``jax_batches``.

        Raises:
            FeedError: JAX is not installed, or there is no such device.
        """
        from nemesyst.frameworks.jax_dataset import jax_batches

        return jax_batches(self, device)

    def to_arrow(self) -> Iterator[pa.RecordBatch]:
        """The next epoch as Arrow record batches; see ``arrow_batches``.

        Raises:
            FeedError: pyarrow is not installed.
        """
        from nemesyst.frameworks.arrow_dataset import arrow_batches

        return arrow_batches(self)

    def to_pandas(self) -> pd.DataFrame:
        """All rows of the next epoch as a ``DataFrame``; see ``pandas_frame``.

        Raises:
            FeedError: pandas is not installed.
        """
        from nemesyst.frameworks.pandas_dataset import pandas_frame

        return pandas_frame(self, self.names())
