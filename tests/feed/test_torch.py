"""Batches as PyTorch tensors."""

import numpy as np
import pytest

from nemesyst.frameworks.torch_dataset import torch_dataset

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


def test_worker_processes_give_the_batches_of_one_process(rows):
    alone = list(rows)
    loader = torch.utils.data.DataLoader(rows.to_torch(), batch_size=None, num_workers=2)
    shared = list(loader)
    assert len(shared) == len(alone) == 3
    for one, other in zip(alone, shared, strict=True):
        assert np.array_equal(one["x"], other["x"].numpy())
