"""Architectures: made by the reader's own functions, which the reader registers."""

from __future__ import annotations

import pytest

import nemesyst as nm
from nemesyst.errors import ModelError, SettingsError
from nemesyst.models import architectures


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch):
    monkeypatch.setattr(architectures, "_registered", {})


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def linear(torch):
    @nm.architecture("linear")
    def make(hidden: int, bias: bool = True):
        return torch.nn.Linear(3, hidden, bias=bias)

    return make


def test_a_registered_architecture_needs_no_build(models, linear, torch):
    net = linear(5)
    version = models.save(net, "air", build=linear, args={"hidden": 5})
    assert version.architecture == "linear"
    assert torch.equal(models.load("air").weight, net.weight)


def test_a_name_may_be_given_without_the_function(models, linear):
    assert models.save(linear(5), "air", architecture="linear", args={"hidden": 5}).architecture == "linear"
    assert models.load("air").out_features == 5


def test_one_that_is_not_registered_is_told(models, linear):
    models.save(linear(5), "air", architecture="liner", args={"hidden": 5})
    with pytest.raises(
        ModelError, match=r"(?s)air@1 has the architecture 'liner'.*did you mean linear.*Import your module"
    ):
        models.load("air")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({}, "missing a required argument: 'hidden'"),
        ({"hidden": 5, "act": "os.system"}, "unexpected keyword argument 'act'"),
        ({"hidden": "5"}, "hidden is '5', which is no int"),
        ({"hidden": True}, "hidden is True, which is no int"),
        ({"hidden": 5, "bias": 1}, "bias is 1, which is no bool"),
    ],
)
def test_arguments_that_do_not_fit_the_readers_function_are_refused(models, state, linear, args, text):
    models.save(linear(5), "air", build=linear, args={"hidden": 5})
    state.versions.update_one({}, {"$set": {"args": args}})
    with pytest.raises(ModelError, match=f"air@1: build=.*{text}"):
        models.load("air")


def test_two_functions_cannot_have_one_name(linear):
    assert nm.architecture("linear")(linear) is linear  # a module that is imported twice
    with pytest.raises(SettingsError, match="architecture 'linear' is .* already"):
        nm.architecture("linear")(print)
