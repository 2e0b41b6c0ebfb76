"""Whoever can write to the state database can do harm to records, but makes no reader run code or take wrong bytes."""

from __future__ import annotations

import pickle

import pytest
from blake3 import blake3

from nemesyst.errors import CorruptBlobError, ModelError, UntrustedError


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.mark.parametrize("framework", ["torch", "sklearn", "arrays"])
def test_a_pickle_with_a_fitting_digest_has_no_effect(models, state, weights, tmp_path, framework):
    torch = pytest.importorskip("torch")
    models.save(weights, "air")
    data = pickle.dumps(Bomb(str(tmp_path / "marker")))
    forged = {"data": data, "size": len(data), "digest": blake3(data).hexdigest(), "framework": framework}
    state.versions.update_one({}, {"$set": forged})
    with pytest.raises(CorruptBlobError, match="air@1"):
        models.load("air", into=torch.nn.Linear(1, 1) if framework == "torch" else None)
    assert not list(tmp_path.iterdir())


def test_a_torch_zip_pickle_has_no_effect(models, state, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(Bomb(str(tmp_path / "marker")), tmp_path / "bomb.pt")
    data = (tmp_path / "bomb.pt").read_bytes()
    (tmp_path / "bomb.pt").unlink()
    models.save(torch.nn.Linear(1, 1), "air")
    state.versions.update_one({}, {"$set": {"data": data, "size": len(data), "digest": blake3(data).hexdigest()}})
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        models.load("air", into=torch.nn.Linear(1, 1))
    assert not list(tmp_path.iterdir())


def test_a_build_function_named_by_the_record_is_never_imported(models, state, tmp_path):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(1, 1), "air")
    state.versions.update_one({}, {"$set": {"build": "os.mkdir", "args": {"path": str(tmp_path / "marker")}}})
    with pytest.raises(ModelError, match="holds weights alone"):
        models.load("air")
    assert not list(tmp_path.iterdir())


def test_a_framework_that_is_no_adapter_is_never_imported(models, state, weights):
    models.save(weights, "air")
    state.versions.update_one({}, {"$set": {"framework": "os:system"}})
    with pytest.raises(ModelError, match="no adapter is called 'os:system'"):
        models.load("air")


@pytest.mark.parametrize("place", [0, 7, 40, -1])
def test_one_flipped_bit_is_found(models, state, weights, place):
    models.save(weights, "air")
    data = bytearray(state.versions.find_one()["data"])
    data[place] ^= 1
    state.versions.update_one({}, {"$set": {"data": bytes(data)}})
    with pytest.raises(CorruptBlobError, match="bytes of air@1 are not the ones that were saved: expected BLAKE3"):
        models.load("air")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", "text"), ("data", None), ("size", 2**50), ("size", -1), ("size", "9"), ("size", 0), ("digest", 3),
        ("created", 5), ("metrics", []), ("args", None), ("feed", "{"), ("feed", {}), ("framework", None),
    ],
)  # fmt: skip
def test_a_record_that_was_edited_is_one_clear_error(models, state, weights, field, value):
    models.save(weights, "air")
    state.versions.update_one({}, {"$set": {field: value}})
    with pytest.raises((ModelError, CorruptBlobError), match="air@1"):
        models.load("air")


def test_swapped_blobs_are_found(models, state, large):
    models.save(large, "air")
    models.save({"w": -large["w"]}, "air")
    first, second = (each["blob"] for each in state.versions.find(sort=[("number", 1)]))
    state.versions.update_one({"number": 1}, {"$set": {"blob": second}})
    with pytest.raises(CorruptBlobError, match="air@1"):
        models.load("air@1")
    assert first != second


def test_a_trusted_list_in_the_record_counts_for_nothing(models, state):
    neighbors = pytest.importorskip("sklearn.neighbors")
    pytest.importorskip("skops")
    models.save(neighbors.KNeighborsRegressor(1, algorithm="kd_tree").fit([[0.0], [1.0]], [0.0, 5.0]), "air")
    state.versions.update_one({}, {"$set": {"trust": ["sklearn.neighbors._kd_tree.KDTree"]}})
    with pytest.raises(UntrustedError, match="KDTree"):
        models.load("air")
