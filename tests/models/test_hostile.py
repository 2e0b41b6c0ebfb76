"""Whoever can write to the state database can do harm to records, but makes no reader run code or take wrong bytes.

The artefacts are in artefacts.py; each is put into a record with a digest that fits, as somebody would who may write
there, and loaded by each adapter.
"""

from __future__ import annotations

import functools
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, NemesystError, UntrustedError
from nemesyst.frameworks import adapter_named

from . import artefacts

pytestmark = pytest.mark.slow

ADAPTERS = {
    "torch": "torch",
    "sklearn": "skops",
    "arrays": "numpy",
    "xgboost": "xgboost",
    "onnx": "onnxruntime",
    "jax": "jax",
}
"""Framework of a record, and the package that its reader needs."""

MOST_MEMORY = 100_000_000
"""Bytes that refusing an artefact may take; the largest artefact unpacks to half of it, and claims terabytes."""


@pytest.fixture
def forge(models, state, weights):
    """Put bytes in place of those of a version, with a digest that fits."""

    def put(data, framework="arrays", **more):
        models.save(weights, "air")
        content = {"data": data, "size": len(data), "digest": blake3(data).hexdigest()}
        state.versions.update_one({}, {"$set": {"contents": {"model": content}, "framework": framework, **more}})

    return put


def target(framework):
    """A model to load into, where the framework needs one."""
    if framework != "torch":
        return None
    import torch

    return torch.nn.Linear(1, 1)


@functools.cache
def imported(framework):
    """Let a reader import what it needs: watched by tracemalloc that takes ten times as long."""
    with suppress(NemesystError):
        adapter_named(framework).load(b"noise", target(framework))


@pytest.mark.parametrize("framework", ADAPTERS)
@pytest.mark.parametrize("name", artefacts.ATTACKS)
def test_a_hostile_artefact_is_refused_without_effect(models, forge, tmp_path, framework, name):
    pytest.importorskip(ADAPTERS[framework])
    try:
        data = artefacts.ATTACKS[name](tmp_path / "marker")
    except ImportError as error:
        pytest.skip(f"making it needs {error.name}")
    into = target(framework)
    forge(data, framework)
    imported(framework)
    tracemalloc.start()
    try:
        with pytest.raises((CorruptBlobError, UntrustedError, MismatchError), match="air@1"):
            models.load("air", into=into)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.xdist_group("keras")
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_hostile_artefacts_have_no_effect_on_models_of_keras(tmp_path, backend, keras_hosts):
    """Among them what Keras itself writes for a layer with code: a process for each backend."""
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    program = Path(__file__).parent / "hostile_keras_program.py"
    printed = keras_hosts.run(backend, program, tmp_path / "marker")
    assert printed.split() == ["refused"] * (len(artefacts.ATTACKS) + 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a pickle", "an array of pickled objects", "noise", "a header that claims terabytes"])
@pytest.mark.parametrize("content", ["golden", "optimizer", "onnx"])
def test_what_is_stored_beside_the_weights_is_as_safe(models, state, tmp_path, name, content):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    net = torch.nn.Linear(1, 1)
    models.save(net, "air")
    data = artefacts.ATTACKS[name](tmp_path / "marker")
    forged = {"data": data, "size": len(data), "digest": blake3(data).hexdigest()}
    state.versions.update_one({}, {"$set": {f"contents.{content}": forged}})
    asked = {
        "golden": {"into": net, "verify": True},
        "optimizer": {"into": net, "optimizer": torch.optim.Adam(net.parameters())},
        "onnx": {"form": "onnx"},
    }[content]
    with pytest.raises((CorruptBlobError, UntrustedError, MismatchError), match="air@1"):
        models.load("air", **asked)
    assert not list(tmp_path.iterdir())


def test_a_build_function_named_by_the_record_is_never_imported(models, state, tmp_path):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(1, 1), "air")
    state.versions.update_one({}, {"$set": {"build": "os.mkdir", "args": {"path": str(tmp_path / "marker")}}})
    with pytest.raises(ModelError, match="holds weights alone"):
        models.load("air")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["os.mkdir", "os:mkdir", "__import__", "builtins.open"])
def test_an_architecture_named_by_the_record_is_never_imported(models, state, tmp_path, name):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(1, 1), "air")
    state.versions.update_one({}, {"$set": {"architecture": name, "args": {"path": str(tmp_path / "marker")}}})
    with pytest.raises(NemesystError, match="air@1"):
        models.load("air")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args", [{"width": 3, "path": "x"}, {"depth": 3}, {}, {"width": {"$gt": 1}}, {"self": 1}, {"width": [1, 2]}]
)
def test_arguments_that_do_not_fit_the_readers_own_function_are_refused(models, state, args):
    torch = pytest.importorskip("torch")
    called = []

    def make(width: int):
        called.append(width)
        return torch.nn.Linear(width, 1)

    models.save(make(2), "air", build=make, args={"width": 2})
    called.clear()
    state.versions.update_one({}, {"$set": {"args": args}})
    with pytest.raises(NemesystError, match="air@1"):
        models.load("air", build=make)
    assert not any(isinstance(width, int) for width in called)


def test_a_framework_that_is_no_adapter_is_never_imported(models, state, weights):
    models.save(weights, "air")
    state.versions.update_one({}, {"$set": {"framework": "os:system"}})
    with pytest.raises(ModelError, match="no adapter is called 'os:system'"):
        models.load("air")


@pytest.mark.parametrize("place", [0, 7, 40, -1])
def test_one_flipped_bit_is_found(models, state, weights, place):
    models.save(weights, "air")
    data = bytearray(state.versions.find_one()["contents"]["model"]["data"])
    data[place] ^= 1
    state.versions.update_one({}, {"$set": {"contents.model.data": bytes(data)}})
    with pytest.raises(CorruptBlobError, match="bytes of air@1 are not the ones that were saved: expected BLAKE3"):
        models.load("air")


@pytest.mark.parametrize("end", [0, 1, 8, -1])
def test_bytes_that_are_cut_are_found(models, state, weights, end):
    models.save(weights, "air")
    data = state.versions.find_one()["contents"]["model"]["data"]
    state.versions.update_one({}, {"$set": {"contents.model.data": data[:end]}})
    with pytest.raises(CorruptBlobError, match="air@1"):
        models.load("air")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("contents", None), ("contents", {}), ("contents", []), ("contents.model", "text"), ("contents.model", {}),
        ("contents.model.data", "text"), ("contents.model.data", None), ("contents.model.size", 2**50),
        ("contents.model.size", -1), ("contents.model.size", "9"), ("contents.model.size", 0),
        ("contents.model.digest", 3), ("contents.model.digest", "../../etc/passwd"), ("contents.model.digest", ""),
        ("created", 5), ("metrics", []), ("args", None), ("args", [1]), ("feed", "{"), ("feed", {}), ("feed", "[" * 99_999),
        ("framework", None), ("framework", 3), ("number", "1"), ("aliases", 7), ("tags", "x"), ("lineage", 3),
        ("architecture", {}), ("environment", []), ("learner", 1),
    ],
)  # fmt: skip
def test_a_record_that_was_edited_is_one_clear_error(models, state, weights, field, value):
    models.save(weights, "air")
    state.versions.update_one({}, {"$set": {field: value}})
    with pytest.raises(NemesystError):
        models.load("air@1" if field != "number" else "air")


def test_swapped_blobs_are_found(models, state, large):
    models.save(large, "air")
    models.save({"w": -large["w"]}, "air")
    first, second = (each["contents"]["model"]["blob"] for each in state.versions.find(sort=[("number", 1)]))
    state.versions.update_one({"number": 1}, {"$set": {"contents.model.blob": second}})
    with pytest.raises(CorruptBlobError, match="air@1"):
        models.load("air@1")
    assert first != second


def test_swapped_contents_of_one_version_are_found(models, state):
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(net.parameters())
    models.save(net, "air", optimizer=optimizer)
    contents = state.versions.find_one()["contents"]
    swapped = {"contents.model": contents["optimizer"], "contents.optimizer": contents["model"]}
    state.versions.update_one({}, {"$set": swapped})
    with pytest.raises(ModelError, match="air@1"):
        models.load("air", into=net)


def test_weights_of_another_version_do_not_fit_silently(models, state):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(1, 1), "air")
    models.save(torch.nn.Linear(2, 1), "air")
    other = state.versions.find_one({"number": 2})["contents"]
    state.versions.update_one({"number": 1}, {"$set": {"contents": other}})
    with pytest.raises(MismatchError, match=r"air@1: .*weight: stored F32 \[1, 2\], in the model F32 \[1, 1\]"):
        models.load("air@1", into=torch.nn.Linear(1, 1))


def test_a_trusted_list_in_the_record_counts_for_nothing(models, state):
    neighbors = pytest.importorskip("sklearn.neighbors")
    pytest.importorskip("skops")
    models.save(neighbors.KNeighborsRegressor(1, algorithm="kd_tree").fit([[0.0], [1.0]], [0.0, 5.0]), "air")
    state.versions.update_one({}, {"$set": {"trust": ["sklearn.neighbors._kd_tree.KDTree"]}})
    with pytest.raises(UntrustedError, match="KDTree"):
        models.load("air")


@pytest.mark.parametrize("framework", ADAPTERS)
def test_numbers_that_are_cut_anywhere_never_load(models, forge, framework):
    pytest.importorskip(ADAPTERS[framework])
    from nemesyst.frameworks import adapter_named

    data = b"".join(bytes(piece) for piece in adapter_named(framework).dump(sound(framework)))
    forge(data, framework)
    assert models.load("air", into=target(framework)) is not None
    for end in np.linspace(0, len(data) - 1, 12, dtype=int):
        forge(data[:end], framework)
        with pytest.raises((CorruptBlobError, UntrustedError, MismatchError), match="air@"):
            models.load("air@1", into=target(framework))


def sound(framework):
    """A model that loads."""
    if framework == "torch":
        return target("torch")
    if framework == "sklearn":
        from sklearn.linear_model import Ridge

        return Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    if framework == "xgboost":
        import xgboost

        return xgboost.train({"nthread": 1}, xgboost.DMatrix(np.eye(4), np.arange(4)), 2)
    if framework == "onnx":
        parser = pytest.importorskip("onnx.parser")
        return parser.parse_model(
            '<ir_version: 9, opset_import: ["": 18]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
        )
    if framework == "jax":
        import jax

        return {"w": jax.numpy.ones(3)}
    return {"w": np.ones(3)}
