"""The golden batch: a model's test of itself."""

import numpy as np
import pytest

from nemesyst.errors import CorruptBlobError, ModelError, SelfTestError, SettingsError
from nemesyst.frameworks import adapter_for
from nemesyst.models import golden

torch = pytest.importorskip("torch")

INPUTS = np.linspace(-1, 1, 24, dtype="f4").reshape(8, 3)


def made():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def stored(net, inputs=INPUTS):
    adapter = adapter_for(net)
    return b"".join(bytes(piece) for piece in golden.dumped(golden.taken(adapter, net, inputs)))


def test_the_same_model_passes_without_a_difference():
    net = made()
    assert golden.check(adapter_for(net), net, stored(net), "air@1") == 0


def test_a_model_with_other_weights_fails_and_says_by_how_much():
    net = made()
    data = stored(net)
    with torch.no_grad():
        net[2].bias += 0.5
    with pytest.raises(SelfTestError, match=r"air@1 fails its self-test: .* differ by up to \d\S* of the largest"):
        golden.check(adapter_for(net), net, data, "air@1")


def test_a_difference_within_the_tolerance_passes():
    net = made()
    data = stored(net)
    with torch.no_grad():
        net[2].bias += 1e-7
    assert golden.check(adapter_for(net), net, data, "air@1") <= adapter_for(net).tolerance


def test_outputs_of_another_shape_fail():
    net, data = made(), stored(made())
    net[2] = torch.nn.Linear(4, 3)
    with pytest.raises(SelfTestError, match=r"shape \(8, 3\), but \(8, 2\)"):
        golden.check(adapter_for(net), net, data, "air@1")


def test_a_not_a_number_must_stay_one():
    net = made()
    inputs = INPUTS.copy()
    inputs[0] = np.nan
    data = stored(net, inputs)
    assert golden.check(adapter_for(net), net, data, "air@1") == 0
    with torch.no_grad():
        net[0].weight[:] = np.nan
    with pytest.raises(SelfTestError):
        golden.check(adapter_for(net), net, data, "air@1")


def test_named_inputs_are_kept_by_name():
    class Two(torch.nn.Module):
        def forward(self, seq, static):
            return seq.sum(1) + static

    inputs = {"seq": np.ones((8, 5), "f4"), "static": np.arange(8, dtype="f4")}
    assert golden.check(adapter_for(Two()), Two(), stored(Two(), inputs), "air@1") == 0


class Dice(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def test_a_model_that_draws_numbers_has_no_golden_batch():
    assert golden.taken(adapter_for(Dice()), Dice(), INPUTS) is None


def test_given_inputs_of_such_a_model_are_refused():
    with pytest.raises(ModelError, match="another output for the same inputs"):
        golden.given(adapter_for(Dice()), Dice(), INPUTS)


def test_given_inputs_are_arrays():
    with pytest.raises(SettingsError, match="golden=list"):
        golden.given(adapter_for(made()), made(), [1, 2])


def test_bytes_without_an_output_are_refused():
    net = made()
    data = b"".join(bytes(piece) for piece in golden.dumped({"input": INPUTS}))
    with pytest.raises(CorruptBlobError, match="golden batch of air@1"):
        golden.check(adapter_for(net), net, data, "air@1")


def test_the_first_rows_of_a_feed_make_one_and_its_epoch_does_not_move(hub):
    hub.put("rows", [{"a": i, "b": i / 7, "y": float(i)} for i in range(100)])
    feed = hub.feed("rows", inputs=["a", "b"], targets="y", scale="standard", shuffle=True, batch_size=10)
    net = torch.nn.Linear(2, 1)
    found = golden.automatic(adapter_for(net), net, feed)
    assert found["input"].shape == (8, 2)
    assert found["output"].shape == (8, 1)
    assert feed.epoch == 0


def test_a_model_that_takes_other_inputs_has_none(hub):
    hub.put("rows", [{"a": i, "y": float(i)} for i in range(20)])
    net = torch.nn.Linear(7, 1)
    assert golden.automatic(adapter_for(net), net, hub.feed("rows", inputs=["a"], targets="y")) is None
