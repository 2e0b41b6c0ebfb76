"""What is stored with a version beside its weights, and what loading can do with it."""

from __future__ import annotations

import numpy as np
import pymongo.monitoring
import pytest

import nemesyst as nm
from nemesyst.errors import ModelError, SelfTestError, SettingsError


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def net(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


def make():
    import torch

    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def test_a_version_names_its_contents(models, net, rows):
    version = models.save(net, "air", golden=rows, curves=b'{"loss": [[0, 1.0, 1.0, 1.0, 1]]}')
    assert list(version.contents) == ["model", "golden", "curves"]
    assert version.contents["model"] == (version.digest, version.size)
    assert models.curves("air") == {"loss": [[0, 1, 1, 1, 1]]}
    assert bytes(models.content("air", "curves")).startswith(b'{"loss"')


def test_what_is_not_stored_is_told(models, net):
    models.save(net, "air")
    assert models.curves("air") == {}
    with pytest.raises(ModelError, match="air@1 was saved without a golden batch; it has model"):
        models.load("air", build=make, verify=True)
    with pytest.raises(ModelError, match="without an ONNX form"):
        models.load("air", form="onnx")


def test_a_version_tests_itself(models, state, net, rows):
    models.save(net, "air", golden=rows)
    models.load("air", build=make, verify=True)
    models.save(make(), "wind")
    other = state.versions.find_one({"name": "wind"})["contents"]["model"]
    state.versions.update_one({"name": "air"}, {"$set": {"contents.model": other}})
    with pytest.raises(SelfTestError, match="air@1 fails its self-test"):
        models.load("air", build=make, verify=True)


def test_an_optimiser_goes_on_where_it_was(models, torch, net, rows):
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.tensor(rows)).sum().backward()
    optimizer.step()
    models.save(net, "air", optimizer=optimizer)
    fresh = make()
    again = torch.optim.Adam(fresh.parameters(), lr=1)
    loaded, restored = models.load("air", into=fresh, optimizer=again)
    assert loaded is fresh
    assert restored is again
    assert restored.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


@pytest.mark.slow
def test_an_onnx_form_gives_the_same_outputs_without_the_framework(models, torch, net, rows):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    models.save(net, "air", also="onnx", golden=rows)
    from nemesyst.frameworks import adapter_for

    form = models.load("air", form="onnx", verify=True)
    assert np.allclose(adapter_for(form).predict(form, rows), net(torch.tensor(rows)).detach(), atol=1e-5)


def test_another_form_needs_inputs_to_be_compared_on(models, net):
    with pytest.raises(ModelError, match="also='onnx' needs a few inputs"):
        models.save(net, "air", also="onnx")
    with pytest.raises(SettingsError, match="'tflite' is no form of a model"):
        models.save(net, "air", also=["tflite"])


def test_a_device_is_the_frameworks_business(models, net, weights):
    models.save(net, "air")
    models.save(weights, "scale")
    assert models.load("air", build=make, device="cpu") is not None
    with pytest.raises(ModelError, match="device='gpu:7'"):
        models.load("scale", device="gpu:7")


class Counted(pymongo.monitoring.CommandListener):
    def __init__(self):
        self.commands = []

    def started(self, event):
        name = event.command_name
        if name in ("find", "getMore", "aggregate", "count", "distinct"):  # and not those that open a connection
            self.commands.append((name, event.command.get("collection" if name == "getMore" else name)))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def test_an_unchanged_version_is_loaded_again_by_one_read_of_its_record(home, names, models, large):
    models.save(large, "air")
    models.promote("air@1", "champion")
    counted = Counted()
    with nm.connect(home=home, **names, event_listeners=[counted]) as hub:
        first = hub.models.load("air@champion")
        assert ("find", "blobs.chunks") in counted.commands
        counted.commands.clear()
        again = hub.models.load("air@champion")
        assert counted.commands == [("find", "versions")]
    assert np.array_equal(first["w"], again["w"])


@pytest.mark.parametrize("size", [10, 100_000])
def test_loaded_arrays_can_only_be_read(models, size):
    models.save({"w": np.zeros(size)}, "air")
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            models.load("air")["w"][0] = 1


def test_tags_and_purpose_are_recorded(models, weights):
    version = models.save(weights, "air", tags={"customer": "north", "trial": 3}, text="Air temperature.", seconds=2)
    assert version == models.get("air")
    assert (version.tags, version.text, version.seconds) == ({"customer": "north", "trial": 3}, "Air temperature.", 2.0)


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ({"tags": {"a": [1]}}, r"tags\['a'\] is a list"),
        ({"text": 3}, "text=3 is no text"),
        ({"seconds": -1}, "seconds=-1"),
        ({"architecture": 3}, "architecture=3 is no text"),
        ({"golden": "x"}, "golden=str"),
    ],
)
def test_what_cannot_be_recorded_is_named(models, state, weights, notes, text):
    with pytest.raises(SettingsError, match=text):
        models.save(weights, "air", **notes)
    assert state.list_collection_names() == []


def test_where_the_rows_come_from_is_recorded_and_their_plan_is_kept(hub, models, state, weights):
    hub.put("telemetry", [{"unit": n % 3, "air": float(n)} for n in range(50)])
    feed = hub.feed("telemetry", inputs=["air"], targets="air")
    version = models.save(weights, "air", feed=feed)
    assert version.lineage["rows"] == {"all": 50}
    assert state.versions.find_one()["plan"] == version.lineage["plan"]
    assert models.get("air").lineage == version.lineage


def test_a_long_lineage_is_kept_beside_the_record(models, state, weights):
    class Feed:
        def recorded(self):
            return {"collection": "telemetry"}

        def lineage(self):
            return {"plan": "p", "digests": ["0" * 32] * 10_000}

    models.save(weights, "air", feed=Feed())
    assert len(models.get("air").lineage["digests"]) == 10_000
    assert state.versions.find_one()["lineage"] is None
