"""Batches as PyTorch tensors."""

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.frameworks import torch_dataset

torch = pytest.importorskip("torch", reason="needs the torch extra")


@pytest.fixture
def rows(hub):
    hub.put("rows", [{"i": i, "air": i / 2, "label": i % 3} for i in range(10)], key="i")
    return hub.feed("rows", inputs=["i", "air"], targets="label", batch_size=4)


def test_a_feed_is_an_iterable_dataset_of_whole_batches(rows):
    batches = list(torch.utils.data.DataLoader(rows.to_torch(), batch_size=None))
    assert [tuple(batch["x"].shape) for batch in batches] == [(4, 2), (4, 2), (2, 2)]
    assert batches[0]["y"].dtype == torch.int64


def test_tensors_share_memory_with_the_batch():
    batch = {"x": np.zeros((2, 2), np.float32)}
    tensor = next(iter(torch_dataset([batch], None)))["x"]
    batch["x"][0, 0] = 7
    assert tensor[0, 0] == 7


def test_worker_processes_are_refused_with_the_reason(rows):
    loader = torch.utils.data.DataLoader(rows.to_torch(), batch_size=None, num_workers=1)
    with pytest.raises(FeedError, match="num_workers"):
        list(loader)
