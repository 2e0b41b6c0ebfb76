from __future__ import annotations

import socket
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nemesyst.database import Connection
from nemesyst.database.embedded.binary import find_mongod
from nemesyst.errors import (
    AccessError,
    MismatchError,
    ModelError,
    SettingsError,
    UnknownModelError,
    UnsupportedServerError,
    UntrustedError,
)
from nemesyst.models import Models


def same(one, other):
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize("kind", ["weights", "large"])
def test_a_model_comes_back_bit_for_bit(models, request, kind):
    model = request.getfixturevalue(kind)
    models.save(model, "air")
    assert same(models.load("air"), model)


def test_a_torch_model_is_built_from_its_arguments(models):
    torch = pytest.importorskip("torch")

    def make(hidden, bias=True):
        return torch.nn.Linear(3, hidden, bias=bias)

    models.save(net := make(5), "air[site12]", build=make, args={"hidden": 5})
    loaded = models.load("air[site12]@latest", build=make)
    assert torch.equal(loaded.weight, net.weight)
    assert torch.equal(models.load("air[site12]", into=torch.nn.Linear(3, 5)).bias, net.bias)


def test_weights_without_a_module_to_go_into_say_how_they_were_built(models):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(3, 5), "air", build=torch.nn.Linear, args={"in_features": 3, "out_features": 5})
    with pytest.raises(ModelError, match=r"(?s)air@1 holds weights alone.*build=torch.*Linear.*'in_features': 3"):
        models.load("air")


def test_a_mismatch_names_the_version(models):
    torch = pytest.importorskip("torch")
    models.save(torch.nn.Linear(3, 5), "air")
    with pytest.raises(MismatchError, match=r"air@1: .*weight: stored F32 \[5, 3\], in the model F32 \[6, 3\]"):
        models.load("air", into=torch.nn.Linear(3, 6))


def test_a_model_of_another_framework_cannot_take_it(models, weights):
    torch = pytest.importorskip("torch")
    models.save(weights, "air")
    with pytest.raises(MismatchError, match="saved by the adapter arrays, but a model of torch"):
        models.load("air", into=torch.nn.Linear(3, 5))


def test_the_reader_trusts_types_of_scikit_learn(models):
    neighbors = pytest.importorskip("sklearn.neighbors")
    pytest.importorskip("skops")
    model = neighbors.KNeighborsRegressor(1, algorithm="kd_tree").fit([[0.0], [1.0]], [0.0, 5.0])
    models.save(model, "air")
    with pytest.raises(UntrustedError, match=r"air@1: .*KDTree"):
        models.load("air")
    trust = ["sklearn.neighbors._kd_tree.KDTree", "sklearn.metrics._dist_metrics.EuclideanDistance64"]
    assert models.load("air@1", trust=trust).predict([[1.0]]) == [5.0]


@pytest.mark.parametrize("ref", ["air", "air@latest", "air@champion", "air[site12]"])
def test_trust_is_given_to_one_version_by_its_number(models, weights, ref):
    models.save(weights, "air")
    with pytest.raises(SettingsError, match=r"trust= is for one version.*\n.*load\('air(\[site12\])?@3', trust"):
        models.load(ref, trust=["os.system"])


def test_a_version_says_what_was_saved(models, weights):
    first = models.save(weights, "air")
    feed = {"collection": "telemetry", "pipeline": [{"$match": {"a.b": {"$gt": 1}}}]}
    metrics = {"loss/a.b": np.float32(0.5), "mae": float("nan")}
    version = models.save(weights, "air", feed=feed, args={"layers": (1, 2)}, metrics=metrics, parent="air@latest")
    assert version == models.get("air@2") or np.isnan(version.metrics["mae"])
    assert (version.ref, version.framework, version.parent, version.feed) == ("air@2", "arrays", first.ref, feed)
    assert version.args == {"layers": [1, 2]}
    assert version.metrics["loss/a.b"] == 0.5
    assert np.isnan(version.metrics["mae"])
    assert abs(version.created - datetime.now(UTC)) < timedelta(minutes=5)
    assert version.environment["packages"]["numpy"] == np.__version__
    assert {"python", "platform", "processor", "threads", "packages"} == version.environment.keys()


def test_a_feed_gives_its_specification(models, weights):
    class Feed:
        def recorded(self):
            return {"collection": "telemetry"}

    assert models.save(weights, "air", feed=Feed()).feed == {"collection": "telemetry"}


def test_entities_are_numbered_apart(models, weights):
    refs = [models.save(weights, name).ref for name in ("air", "air[a]", "air[a]", "air[b]", "air")]
    assert refs == ["air@1", "air[a]@1", "air[a]@2", "air[b]@1", "air@2"]


def test_list_gives_all_or_those_of_a_name_or_entity(models, weights):
    for name in ("air", "air[a]", "air[a]", "wind"):
        models.save(weights, name)
    assert [version.ref for version in models.list()] == ["air@1", "air[a]@1", "air[a]@2", "wind@1"]
    assert [version.ref for version in models.list("air")] == ["air@1", "air[a]@1", "air[a]@2"]
    assert [version.ref for version in models.list("air[a]")] == ["air[a]@1", "air[a]@2"]
    assert models.names() == ["air", "wind"]


def test_an_empty_registry_lists_nothing(models):
    assert (models.list(), models.names()) == ([], [])


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("aur", r"no model is called 'aur': did you mean air\?"),
        ("air@9", r"air has no version 9; newest: 2, 1"),
        ("air@champoin", r"air has no alias 'champoin': did you mean champion\?"),
        ("air[site21]", r"'air' has no entity 'site21': did you mean site12\?"),
        ("wind", r"'wind' has no version without an entity: there are: north"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(models, weights, ref, text):
    for name in ("air", "air", "air[site12]", "wind[north]"):
        models.save(weights, name)
    models.promote("air@1", "champion")
    for call in (models.get, models.load):
        with pytest.raises(UnknownModelError, match=text):
            call(ref)


def test_an_unknown_name_cannot_be_listed(models, weights):
    models.save(weights, "air")
    with pytest.raises(UnknownModelError, match="did you mean air"):
        models.list("airr")


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ({"metrics": {"mae": float("inf")}}, r"metrics\['mae'\] is inf"),
        ({"metrics": {"mae": "low"}}, r"metrics\['mae'\] is 'low'"),
        ({"metrics": {"mae": [1, 2]}}, r"metrics\['mae'\] is a list"),
        ({"metrics": {"$mae": 1}}, r"metrics has the name '\$mae'"),
        ({"metrics": [1]}, "metrics is a list, not a dict"),
        ({"args": {"net": {"act": print}}}, r"args\['net'\]\['act'\] is <built-in function print>"),
        ({"args": {"n": 2**70}}, r"args\['n'\] is 1180591620717411303424"),
        ({"args": {"x": float("nan")}}, r"args\['x'\] is nan"),
        ({"feed": 3}, "feed is a int"),
        ({"build": lambda width: width, "args": {"hidden": 1}}, "missing a required argument: 'width'"),
        ({"build": lambda: None, "args": {"hidden": 1}}, "unexpected keyword argument 'hidden'"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name_before_a_write(models, state, weights, notes, text):
    with pytest.raises((SettingsError, ModelError), match=text):
        models.save(weights, "air", **notes)
    assert state.list_collection_names() == []


def test_an_unknown_parent_is_refused_before_a_write(models, state, weights):
    with pytest.raises(UnknownModelError, match="no model is called 'wind'"):
        models.save(weights, "air", parent="wind@3")
    assert state.list_collection_names() == []


def test_arguments_that_do_not_fit_the_readers_function_are_named(models, weights):
    models.save(weights, "air", args={"hidden": 5})
    with pytest.raises(ModelError, match=r"air@1: build=.*\(width\) does not fit .*'hidden': 5"):
        models.load("air", build=lambda width: {"w": width})


def test_reading_makes_no_collection_and_no_index(models, state):
    with pytest.raises(UnknownModelError):
        models.load("air")
    models.list()
    assert state.list_collection_names() == []


@pytest.mark.parametrize(
    "query", [{"name": "air", "entity": None, "number": 1}, {"name": "air", "entity": None}, {"name": "air"}]
)
def test_versions_are_found_through_the_index(models, state, weights, query):
    models.save(weights, "air")
    plan = state.versions.find(query, sort=[("name", 1), ("entity", 1), ("number", -1)]).explain()
    stages = str(plan["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in stages
    assert "COLLSCAN" not in stages
    assert "'SORT'" not in stages


@pytest.fixture
def reader(hub):
    """The same models for a user who may read the state database and nothing else."""
    roles = [{"role": "read", "db": hub.state.name}]
    hub.state.command("createUser", "reader", pwd="secret", roles=roles)
    options = {"username": "reader", "password": "secret", "authSource": hub.state.name}
    connection = Connection(hub._embedded.uri, timeout=30, options=options)
    yield Models(connection, hub.state.name)
    connection.close()
    hub.state.command("dropUser", "reader")


def test_a_read_role_is_enough_to_load(models, reader, weights, large):
    models.save(weights, "air")
    models.save(large, "air")
    models.promote("air@2", "champion")
    assert same(reader.load("air@champion"), large)
    assert [version.ref for version in reader.list()] == ["air@1", "air@2"]


def test_a_read_role_is_not_enough_to_save(reader, weights):
    with pytest.raises(AccessError, match="the user lacks a right"):
        reader.save(weights, "air")


@pytest.fixture
def standalone(tmp_path):
    """Models on a real server without a replica set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = find_mongod(None, tmp_path / "spare").path
    command = [
        binary,
        "--dbpath",
        tmp_path,
        "--port",
        str(port),
        "--bind_ip",
        "127.0.0.1",
        "--wiredTigerCacheSizeGB",
        "0.25",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    connection = Connection(f"mongodb://127.0.0.1:{port}", timeout=30)
    yield Models(connection, "state")
    connection.close()
    server.kill()
    server.wait()


def test_a_standalone_server_is_refused_before_the_model_is_dumped(standalone):
    with pytest.raises(UnsupportedServerError, match="save model air: the server is a standalone one"):
        standalone.save({"not": "an array"}, "air")
