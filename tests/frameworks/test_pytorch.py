from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import adapter_named

ADAPTER = adapter_named("torch")


def dumped(model):
    return bytearray(b"".join(ADAPTER.dump(model)))


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours
    )


def trained():
    """A small network with batch normalisation and dropout after a few steps of training."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)
    )
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        net(torch.randn(16, 3)).square().mean().backward()
        optimizer.step()
    return net


def fresh():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)
    )


class Tied(torch.nn.Module):
    def __init__(self, *, tie=True):
        super().__init__()
        self.embed = torch.nn.Embedding(50, 8)
        self.out = torch.nn.Linear(8, 50, bias=False)
        if tie:
            self.out.weight = self.embed.weight


def test_a_trained_network_gives_the_same_outputs_bit_for_bit():
    net, inputs = trained(), np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)
    loaded = ADAPTER.load(dumped(net), into := fresh())
    assert loaded is into
    assert ADAPTER.predict(loaded, inputs).tobytes() == ADAPTER.predict(net, inputs).tobytes()


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64", "float8_e4m3fn"],
)
def test_dtypes_are_kept(dtype):
    one, other = torch.nn.Module(), torch.nn.Module()
    one.register_buffer("b", torch.tensor([0.0, 1.0, 2.5]).to(getattr(torch, dtype)))
    other.register_buffer("b", torch.zeros(3).to(getattr(torch, dtype)))
    ADAPTER.load(dumped(one), other)
    assert other.b.dtype == getattr(torch, dtype)
    assert other.b.view(torch.uint8).tolist() == one.b.view(torch.uint8).tolist()


@pytest.mark.parametrize("value", [torch.tensor(3.5), torch.empty(0, 4), torch.randn(4, 3).t(), torch.randn(6)[::2]])
def test_single_empty_and_strided_tensors_come_back(value):
    one, other = torch.nn.Module(), torch.nn.Module()
    one.register_buffer("b", value)
    other.register_buffer("b", torch.zeros_like(value))
    assert same(ADAPTER.load(dumped(one), other), one)


def test_tied_weights_are_stored_once_and_stay_tied():
    one, other = Tied(), Tied()
    data = dumped(one)
    ADAPTER.load(data, other)
    assert len(data) < 2 * 50 * 8 * 4
    assert other.out.weight is other.embed.weight
    assert torch.equal(other.embed.weight, one.embed.weight)


def test_tied_weights_load_into_a_model_that_does_not_tie_them():
    loaded = ADAPTER.load(dumped(one := Tied()), Tied(tie=False))
    assert torch.equal(loaded.embed.weight, one.embed.weight)
    assert torch.equal(loaded.out.weight, one.embed.weight)


def test_different_weights_do_not_load_into_one_memory():
    with pytest.raises(MismatchError, match=r"embed\.weight and out.weight are tied in the model"):
        ADAPTER.load(dumped(Tied(tie=False)), Tied())


def test_parts_of_one_tensor_are_not_taken_for_the_same():
    one = torch.nn.Module()
    whole = torch.arange(6.0)
    one.register_buffer("a", whole[:3])
    one.register_buffer("b", whole[3:])
    other = torch.nn.Module()
    other.register_buffer("a", torch.zeros(3))
    other.register_buffer("b", torch.zeros(3))
    assert same(ADAPTER.load(dumped(one), other), one)


def test_a_mismatch_names_the_parameter_with_both_shapes():
    with pytest.raises(MismatchError, match=r"weight: stored F32 \[4, 3\], in the model F32 \[5, 3\]"):
        ADAPTER.load(dumped(torch.nn.Linear(3, 4)), torch.nn.Linear(3, 5))


def test_another_dtype_is_a_mismatch():
    with pytest.raises(MismatchError, match=r"weight: stored BF16 \[4, 3\], in the model F32 \[4, 3\]"):
        ADAPTER.load(dumped(torch.nn.Linear(3, 4).to(torch.bfloat16)), torch.nn.Linear(3, 4))


def test_differing_names_are_listed_with_the_shapes_of_both_sides():
    with pytest.raises(MismatchError) as caught:
        ADAPTER.load(dumped(torch.nn.Linear(3, 4, bias=False)), torch.nn.Bilinear(2, 2, 4))
    assert "only in the model: bias F32 [4]" in str(caught.value)
    with pytest.raises(MismatchError, match=r"only stored: bias F32 \[4\]"):
        ADAPTER.load(dumped(torch.nn.Linear(3, 4)), torch.nn.Linear(3, 4, bias=False))


def test_a_mismatch_changes_nothing():
    into = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5))
    before = [parameter.clone() for parameter in into.parameters()]
    with pytest.raises(MismatchError):
        ADAPTER.load(dumped(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 6))), into)
    assert all(torch.equal(now, then) for now, then in zip(into.parameters(), before, strict=True))


def test_predict_leaves_each_modules_mode_and_gradients_alone():
    net = trained().train()
    net[1].eval()
    for parameter in net.parameters():
        parameter.grad = None
    output = ADAPTER.predict(net, np.ones((4, 3), np.float32))
    assert [module.training for module in net] == [True, False, True, True, True]
    assert np.array_equal(output[0], output[1])  # dropout was off
    assert all(parameter.grad is None for parameter in net.parameters())


def test_predict_does_not_change_its_inputs():
    inputs = -np.ones((2, 3), np.float32)
    inputs.flags.writeable = False
    assert ADAPTER.predict(torch.nn.ReLU(inplace=True), inputs).tolist() == [[0, 0, 0]] * 2
    assert (inputs == -1).all()


def test_predict_gives_a_bfloat16_model_what_it_takes():
    net = torch.nn.Linear(3, 2).to(torch.bfloat16)
    assert ADAPTER.predict(net, np.ones((4, 3), np.float32)).dtype == np.float32


def test_predict_takes_several_inputs_by_name():
    class Two(torch.nn.Module):
        def forward(self, seq, static):
            return seq.sum(1) + static

    output = ADAPTER.predict(Two(), {"static": np.ones(2), "seq": np.ones((2, 3))})
    assert output.tolist() == [4, 4]


def test_an_output_that_is_no_tensor_is_named():
    with pytest.raises(ModelError, match="LSTM returns a tuple"):
        ADAPTER.predict(torch.nn.LSTM(3, 2), np.ones((4, 3), np.float32))


def test_a_module_without_values_is_refused():
    with pytest.raises(ModelError, match="weight has no values yet"):
        dumped(torch.nn.LazyLinear(3))


def test_state_that_is_no_tensor_is_refused_by_name():
    class Odd(torch.nn.Module):
        def get_extra_state(self):
            return {"open": print}

    with pytest.raises(ModelError, match="_extra_state in the state dict is a dict"):
        dumped(Odd())


def test_ties_that_do_not_fit_are_refused():
    data = dumped(Tied()).replace(rb"out.weight\"", rb"in!.weight\"").replace(rb"embed.weight\"}", rb"embex.weight\"}")
    with pytest.raises(CorruptBlobError, match="tied"):
        ADAPTER.load(data, Tied())


def test_what_a_build_function_made_is_in_evaluation_mode(hub):
    build = lambda: torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout())  # noqa: E731 - a build function in a line
    hub.models.save(build(), "net", build=build)
    assert not hub.models.load("net", build=build).training
    assert hub.models.load("net", into=build()).training
