"""Batches as PyTorch tensors, in one process."""

import warnings

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.frameworks.torch_dataset import torch_dataset

from .feeds import Memory

torch = pytest.importorskip("torch", reason="needs the torch extra")


def first(**arrays):
    return next(iter(torch_dataset(Memory([arrays]))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "int32", "uint16", "float16"])
def test_a_tensor_has_the_dtype_and_the_memory_of_its_array(dtype):
    values = np.zeros((3, 2), dtype)
    made = first(x=values)["x"]
    assert str(made.dtype) == f"torch.{dtype}"
    assert made.data_ptr() == values.ctypes.data


def test_a_read_only_array_is_copied_without_a_warning():
    values = np.zeros(3, np.float32)
    values.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = first(x=values)["x"]
    made[0] = 7
    assert values[0] == 0


def test_dates_become_milliseconds_and_strings_stay_arrays():
    batch = first(t=np.array(["1970-01-02"], "datetime64[ms]"), name=np.array(["ann"]), tag=np.array([None]))
    assert batch["t"].tolist() == [86_400_000]
    assert batch["name"].tolist() == ["ann"]
    assert batch["tag"].tolist() == [None]


def test_a_loader_takes_all_of_it():
    batch = {"x": np.zeros((2, 2), np.uint8), "t": np.zeros(2, "datetime64[ms]"), "name": np.array(["a", "b"])}
    dataset = torch_dataset(Memory([batch]))
    assert len(torch.utils.data.DataLoader(dataset, batch_size=None)) == 1
    assert [sorted(loaded) for loaded in torch.utils.data.DataLoader(dataset, batch_size=None)] == [["name", "t", "x"]]


def test_each_iteration_is_the_next_epoch():
    feed = Memory([{"x": np.array([1.0])}], [{"x": np.array([2.0])}])
    dataset = feed.to_torch()
    assert [[batch["x"].item() for batch in dataset] for _ in range(2)] == [[1.0], [2.0]]


def test_tensors_go_to_a_device():
    dataset = torch_dataset(Memory([{"x": np.zeros(2)}]), device="meta")
    assert next(iter(dataset))["x"].device.type == "meta"


def test_a_device_in_worker_processes_is_refused_with_the_reason():
    dataset = torch_dataset(Memory([{"x": np.zeros(2)}]), device="cpu")
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(FeedError, match="pin_memory"):
        list(loader)


def test_plain_batches_are_shared_out_to_workers_too():
    dataset = torch_dataset([{"x": np.array([i])} for i in range(7)])
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert [batch["x"].item() for batch in loader] == list(range(7))


def test_without_a_known_length_there_is_none():
    with pytest.raises(TypeError):
        len(torch_dataset(Memory([{"x": np.zeros(1)}], known=False)))
