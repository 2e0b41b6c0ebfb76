from __future__ import annotations

import mmap
import re
from pathlib import Path

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


def test_a_file_that_is_mapped_is_read_in_place_and_its_pages_are_given_back(tmp_path):
    net = torch.nn.Linear(2048, 2048)
    (tmp_path / "net").write_bytes(dumped(net))
    into = torch.nn.Linear(2048, 2048)
    with open(tmp_path / "net", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ADAPTER.load(memoryview(mapped), into)
    assert same(into, net)
    assert resident(mapped) < len(mapped) / 2  # what is read ahead may be large
    mapped.close()


def resident(mapped):
    """Bytes of a mapping that are in this process' memory."""
    address = f"{np.frombuffer(mapped, np.uint8).ctypes.data:x}-"
    text = Path("/proc/self/smaps").read_text()
    _, _, found = text.partition(f"\n{address}")
    return 1024 * int(re.search(r"^Rss: +(\d+) kB", found, re.MULTILINE)[1])


@pytest.mark.parametrize("wrap", ["compile", "inner", "parallel"])
def test_wrappers_leave_no_trace_in_the_names(wrap):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2)))
    wrapped = fresh_like(net)
    if wrap == "inner":
        wrapped[1] = torch.compile(wrapped[1])
    else:
        wrapped = torch.compile(wrapped) if wrap == "compile" else torch.nn.DataParallel(wrapped)
    assert [name for name, _ in ADAPTER.weights(wrapped)] == list(net.state_dict())
    assert ADAPTER.load(dumped(net), wrapped) is wrapped
    assert same(ADAPTER.load(dumped(wrapped), fresh_like(net)), net)


def fresh_like(net):
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_a_data_parallel_module_over_processes_leaves_no_trace(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = torch.compile(torch.nn.parallel.DistributedDataParallel(net := torch.nn.Linear(2, 3)))
        assert same(ADAPTER.load(dumped(wrapped), torch.nn.Linear(2, 3)), net)
    finally:
        torch.distributed.destroy_process_group()


def test_hooks_of_a_module_do_the_loading():
    net, into = (torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 4)) for _ in range(2))
    assert same(ADAPTER.load(dumped(net), into), net)


def test_what_a_hook_changes_is_its_own_copy():
    class Halved(torch.nn.Linear):
        def _load_from_state_dict(self, state_dict, *rest):
            state_dict["weight"].mul_(0.5)
            super()._load_from_state_dict(state_dict, *rest)

    data = bytes(dumped(net := torch.nn.Linear(2, 2)))
    loaded = ADAPTER.load(memoryview(data), Halved(2, 2))
    assert torch.equal(loaded.weight, net.weight / 2)
    assert data == bytes(dumped(net))


def test_a_module_that_refuses_by_itself_says_why():
    class Strict(torch.nn.Linear):
        def _load_from_state_dict(self, *rest):
            raise RuntimeError("not on a Friday")

    with pytest.raises(MismatchError, match="Strict.load_state_dict refused the weights: not on a Friday"):
        ADAPTER.load(dumped(torch.nn.Linear(2, 2)), Strict(2, 2))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.ones(2, device="meta"), "b has no values yet"),
        (torch.eye(2).to_sparse(), "b is sparse or quantized"),
        (torch.ones(2, dtype=torch.complex128), "b has dtype torch.complex128"),
    ],
)
def test_tensors_that_cannot_be_stored_are_named(tensor, text):
    module = torch.nn.Module()
    module.register_buffer("b", tensor)
    with pytest.raises(ModelError, match=text):
        dumped(module)


def test_a_strided_parameter_is_filled_where_it_is():
    into = torch.nn.Linear(3, 4)
    into.weight = torch.nn.Parameter(torch.zeros(3, 4).t())
    loaded = ADAPTER.load(dumped(net := torch.nn.Linear(3, 4)), into)
    assert torch.equal(loaded.weight, net.weight)
    assert loaded.weight.stride() == (1, 4)


def test_devices_by_name():
    net = torch.nn.Linear(1, 1)
    assert ADAPTER.place(net, "cpu") is net
    with pytest.raises(ModelError, match="device='gpu:99': there is none; this machine has cpu"):
        ADAPTER.place(net, "gpu:99")


def stepped(net, kind, **options):
    optimizer = kind(net.parameters(), **options)
    inputs = torch.ones(4, 3)

    def closure():
        optimizer.zero_grad()
        loss = (net(inputs) - 1).square().mean()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return optimizer


def kept(net, optimizer):
    return bytes(b"".join(ADAPTER.dump_optimizer(net, optimizer)))


def kinds(state):
    return [type(value) for values in state["state"].values() for _, value in sorted(values.items())]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("LBFGS", {}), ("SGD", {}), ("Adam", {"amsgrad": True, "lr": torch.tensor(0.1), "betas": (0.8, 0.9)})],
)
def test_an_optimiser_comes_back(kind, options):
    torch.manual_seed(0)
    net, make = torch.nn.Linear(3, 2), getattr(torch.optim, kind)
    one = stepped(net, make, **options)
    other = ADAPTER.load_optimizer(kept(net, one), net, make(net.parameters(), **options))
    assert kept(net, other) == kept(net, one)
    assert kinds(other.state_dict()) == kinds(one.state_dict())
    assert {key: type(value) for key, value in other.param_groups[0].items()} == {
        key: type(value) for key, value in one.param_groups[0].items()
    }


def test_an_optimiser_keeps_its_float32_beside_bfloat16_weights():
    net = torch.nn.Linear(3, 2, bias=False).to(torch.bfloat16)
    one = torch.optim.SGD(net.parameters(), momentum=0.9)
    one.state[net.weight]["momentum_buffer"] = torch.full((2, 3), 1 / 3)
    loaded = ADAPTER.load_optimizer(kept(net, one), net, torch.optim.SGD(net.parameters(), momentum=0.9))
    assert torch.equal(loaded.state[net.weight]["momentum_buffer"], torch.full((2, 3), 1 / 3))


def test_an_optimiser_of_other_parameters_is_refused_by_name():
    net, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 4)
    data = kept(net, stepped(net, torch.optim.Adam))
    with pytest.raises(
        MismatchError, match=r"optimiser's parameters do not fit the model: weight: stored F32 \[2, 3\]"
    ):
        ADAPTER.load_optimizer(data, other, torch.optim.Adam(other.parameters()))
    with pytest.raises(MismatchError, match="the stored optimiser is a Adam, the one to restore a SGD"):
        ADAPTER.load_optimizer(data, net, torch.optim.SGD(net.parameters()))
    groups = torch.optim.Adam([{"params": [parameter]} for parameter in net.parameters()])
    with pytest.raises(MismatchError, match="parameter groups of"):
        ADAPTER.load_optimizer(data, net, groups)


def test_a_state_that_is_no_tensor_is_refused_by_name():
    net = torch.nn.Linear(3, 2)
    optimizer = stepped(net, torch.optim.Adam)
    optimizer.state[net.weight]["odd"] = len
    with pytest.raises(ModelError, match="optimiser's weight/odd is a builtin_function"):
        kept(net, optimizer)
    with pytest.raises(ModelError, match="optimizer is a NoneType"):
        kept(net, None)


@pytest.mark.parametrize(
    ("old", "new"), [(b"bias/exp_avg", b"bias/exp_avh"), (b'\\"groups\\"', b'\\"gruops\\"'), (b"tensor", b"tuple_")]
)
def test_a_damaged_optimiser_is_refused(old, new):
    net = torch.nn.Linear(3, 2)
    data = kept(net, stepped(net, torch.optim.Adam)).replace(old, new, 1)
    with pytest.raises(CorruptBlobError, match="not the state of an optimiser"):
        ADAPTER.load_optimizer(data, net, torch.optim.Adam(net.parameters()))
