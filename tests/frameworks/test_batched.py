"""Each layer of a fleet against PyTorch's own, values and gradients; training against a plain loop."""

import copy
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.func import functional_call

from nemesyst.errors import ModelError, SettingsError
from nemesyst.frameworks import Member, Recipe, copies, first_module, train_fleet
from nemesyst.frameworks.batched.fleet import block_size
from nemesyst.frameworks.batched.modules import batchable, check_modules
from nemesyst.frameworks.batched.plan import order_of, seed_of


@pytest.fixture(autouse=True)
def _one_thread():
    """Operations as small as these take longer on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SEQUENCE, SIGNAL, ROWS = (6, 7, 3), (5, 3, 11), (6, 5)
RECURRENT = [{}, {"batch_first": True}, {"bias": False}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}]
CONVOLUTIONS = [
    {},
    {"padding": 2, "bias": False},
    {"stride": 2, "dilation": 2},
    {"padding": "same", "groups": 3},
    {"padding": 1, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "replicate"},
]
LAYERS = [
    *(
        (lambda kind=kind, more=more: kind(3, 5, **more), SEQUENCE)
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for more in RECURRENT
    ),
    (lambda: nn.RNN(3, 5, nonlinearity="relu"), SEQUENCE),
    (lambda: nn.LSTM(3, 5), (7, 3)),
    *((lambda more=more: nn.Conv1d(3, 6, 3, **more), SIGNAL) for more in CONVOLUTIONS),
    (lambda: nn.Conv1d(3, 6, 3), (3, 11)),
    (lambda: nn.LayerNorm(5), ROWS),
    (lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 2), nn.GELU(), nn.Softmax(1)), ROWS),
    (lambda: nn.Sequential(nn.AvgPool1d(2), nn.MaxPool1d(2), nn.Flatten(), nn.LogSoftmax(1)), SIGNAL),
]


def numbers(output):
    """All numbers of a tensor or of nested tuples of them, as one row."""
    return torch.cat([numbers(each) for each in output]) if isinstance(output, tuple) else output.flatten()


def of_each(output, member):
    return tuple(of_each(each, member) for each in output) if isinstance(output, tuple) else output[member]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_a_layer_of_many_entities_gives_what_pytorchs_own_gives_each(make, shape):
    modules = [make() for _ in range(3)]
    names = dict(modules[0].named_parameters())
    stacked = {
        n: torch.stack([dict(m.named_parameters())[n].detach() for m in modules]).requires_grad_() for n in names
    }
    inputs = torch.randn(3, *shape, requires_grad=True)
    base = batchable(modules[0])
    output = torch.vmap(lambda state, x: functional_call(base, state, (x,)))(stacked, inputs)
    found = [numbers(of_each(output, member)) for member in range(3)]
    torch.stack(found).pow(3).sum().backward()
    for member, module in enumerate(modules):
        alone = inputs[member].detach().requires_grad_()
        expected = numbers(module(alone))
        expected.pow(3).sum().backward()
        torch.testing.assert_close(found[member], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inputs.grad[member], alone.grad, rtol=1e-4, atol=1e-5)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(stacked[name].grad[member], parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_first_state_is_taken_and_its_gradient_given(kind):
    module, inputs, state = kind(3, 5), torch.randn(7, 2, 3), torch.randn(1, 2, 5)
    first = [(each.requires_grad_(), each.clone().detach().requires_grad_()) for each in (state, state.clone() / 2)]
    given = [tuple(each[n] for each in first) if kind is nn.LSTM else first[0][n] for n in (0, 1)]
    for made, hidden in ((module, given[0]), (batchable(module), given[1])):
        numbers(made(inputs, hidden)).pow(2).sum().backward()
    torch.testing.assert_close(first[0][0].grad, first[0][1].grad, rtol=1e-4, atol=1e-5)


class Net(nn.Module):
    """A module of one's own, whose forward indexes and branches on sizes."""

    def __init__(self, hidden=6, drop=0.0):
        super().__init__()
        self.rnn = nn.LSTM(2, hidden, 2, batch_first=True, dropout=drop)
        self.drop = nn.Dropout(drop)
        self.out = nn.Linear(hidden, 1)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x):
        outputs, _ = self.rnn(x)
        last = outputs[:, -1] if x.shape[1] > 1 else outputs[:, 0]
        return self.out(self.drop(last)) * self.scale


def member(name, train, validation=0):
    random = np.random.default_rng(train)

    def part(rows):
        return {"x": random.normal(size=(rows, 5, 2)).astype("f4"), "y": random.normal(size=(rows, 1)).astype("f4")}

    return Member(name, part(train), part(validation))


MEMBERS = [member("a", 40, 9), member("b", 7), member("c", 33, 50), member("d", 1, 3)]
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def plainly(one, recipe, loss=nn.functional.mse_loss):
    """Train a member with PyTorch's own layers and optimiser."""
    net = first_module(Net, recipe.seed, one.name)
    optimizer = OPTIMIZERS[recipe.optimizer](net.parameters(), lr=recipe.learning_rate, **recipe.options)
    best, least, at = copy.deepcopy(net.state_dict()), np.inf, 0
    for epoch in range(recipe.epochs):
        order = order_of(recipe, one.name, epoch, len(one.train["y"]))
        for begin in range(0, len(order), recipe.batch_size):
            rows = order[begin : begin + recipe.batch_size]
            optimizer.zero_grad()
            loss(net(torch.from_numpy(one.train["x"][rows])), torch.from_numpy(one.train["y"][rows])).backward()
            optimizer.step()
        if recipe.patience is None or not len(one.validation["y"]):
            best = net.state_dict()
            continue
        found = loss(net(torch.from_numpy(one.validation["x"])), torch.from_numpy(one.validation["y"])).item()
        if found < least:
            best, least, at = copy.deepcopy(net.state_dict()), found, epoch
        elif epoch - at >= recipe.patience:
            break
    return {name: values.numpy() for name, values in best.items()}, epoch + 1


def apart(one, other):
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "options": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}},
        {"optimizer": "sgd", "options": {"momentum": 0.9, "dampening": 0.3}},
        {"optimizer": "adamw", "options": {"weight_decay": 0.1, "betas": (0.8, 0.9)}},
        {"patience": 1, "learning_rate": 0.1, "epochs": 6},
        {"loss": "mae", "shuffle": False},
    ],
)
def test_a_fleet_learns_what_each_member_learns_in_a_plain_loop(changes):
    recipe = Recipe(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.01, **changes})
    loss = nn.functional.l1_loss if recipe.loss == "mae" else nn.functional.mse_loss
    for one, learned in zip(MEMBERS, train_fleet(Net, MEMBERS, recipe), strict=True):
        expected, epochs = plainly(one, recipe, loss)
        assert learned.name == one.name
        assert len(learned.losses) == epochs
        assert apart(learned.state, expected) < 1e-4


def test_a_function_as_loss_is_the_mean_over_the_rows_that_a_member_has():
    named, given = (
        train_fleet(Net, MEMBERS, Recipe(epochs=2, batch_size=8, loss=loss))
        for loss in ("huber", nn.functional.huber_loss)
    )
    assert max(apart(one.state, other.state) for one, other in zip(named, given, strict=True)) < 1e-5


def test_a_member_learns_the_same_alone_as_among_others_also_what_it_drops():
    recipe = Recipe(epochs=2, batch_size=8)
    together = train_fleet(lambda: Net(drop=0.3), MEMBERS, recipe)
    without = train_fleet(Net, MEMBERS, recipe)
    for one, learned, plain in zip(MEMBERS, together, without, strict=True):
        (alone,) = train_fleet(lambda: Net(drop=0.3), [one], recipe)
        assert apart(learned.state, alone.state) < 1e-5
        assert apart(learned.state, plain.state) > 1e-4


def test_dropping_keeps_the_share_that_it_should():
    base = batchable(nn.Dropout(0.25))
    kept = torch.vmap(lambda draw, x: functional_call(base, {"fleet_draw": draw}, (x,)))(
        torch.arange(4), torch.ones(4, 100, 50)
    )
    assert kept.mean((1, 2)).sub(1).abs().max() < 0.05
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert not torch.equal(kept[0], kept[1])


def test_blocks_that_train_in_threads_give_the_same():
    recipe = Recipe(epochs=1, batch_size=512)
    assert block_size(9, 512, "cpu") < 9
    many = [member(f"m{n}", 5 + n) for n in range(9)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    told = []
    try:
        learned = train_fleet(Net, many, recipe, told=lambda epoch, rows: told.append(rows))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [each.name for each in learned] == [each.name for each in many]
    assert sum(told) == sum(5 + n for n in range(9))
    assert apart(learned[3].state, plainly(many[3], recipe)[0]) < 1e-5


def test_an_error_ends_all_blocks_and_leaves_no_thread():
    def told(epoch, rows):
        raise ValueError("enough")

    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="enough"):
        train_fleet(Net, [member(f"m{n}", 5) for n in range(13)], Recipe(epochs=10_000, batch_size=512), told=told)
    assert not [each for each in threading.enumerate() if each.name.startswith("nemesyst-fleet")]


def test_classes_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(2, 4, batch_first=True), nn.Linear(7, 3)

        def forward(self, seq, static):
            return self.out(torch.cat([self.rnn(seq)[1][-1], static], 1))

    random = np.random.default_rng(0)
    part = {
        "x.seq": random.normal(size=(9, 4, 2)).astype("f4"),
        "x.static": random.normal(size=(9, 3)).astype("f4"),
        "y": random.integers(0, 3, 9),
    }
    (learned,) = train_fleet(Two, [Member("a", part, part)], Recipe(loss="cross_entropy", batch_size=4), outputs=True)
    assert learned.losses[-1] < learned.losses[0]
    assert learned.outputs.shape == (9, 3)


def test_weights_go_into_an_ordinary_module():
    (learned,) = train_fleet(Net, MEMBERS[:1], Recipe(epochs=1, batch_size=8), outputs=True)
    net = copies(Net(), learned.state)
    assert type(net.rnn) is nn.LSTM
    assert learned.state.keys() == net.state_dict().keys()
    given = net(torch.from_numpy(MEMBERS[0].validation["x"])).detach().numpy()
    np.testing.assert_allclose(given, learned.outputs, rtol=1e-4, atol=1e-5)


def test_first_weights_depend_on_seed_and_name_and_leave_the_process_its_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (first_module(Net, 0, name).state_dict()["out.weight"] for name in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    assert seed_of(0, "a") != seed_of(1, "a")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"Sequential.1 is a torch.nn.BatchNorm1d"),
        (lambda: nn.MultiheadAttention(4, 1), r"the model MultiheadAttention itself"),
        (lambda: nn.Sequential(nn.LSTM(3, 4, proj_size=2)), r"proj_size=2"),
        (lambda: type("Own", (nn.LSTM,), {})(2, 3), r"Own"),
        (lambda: {"a": 1}, r"gave a dict"),
    ],
)
def test_what_cannot_be_batched_is_refused_by_name(make, told):
    with pytest.raises(ModelError, match=told) as error:
        check_modules(make())
    assert "nm.learner" in error.value.remedy


def test_a_forward_that_branches_on_values_is_told():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(2, 1)

        def forward(self, x):
            return self.out(x[:, -1]) if x.mean() > 0 else self.out(x[:, 0])

    with pytest.raises(ModelError, match="Branches cannot be trained for many entities at once"):
        train_fleet(Branches, MEMBERS[:2], Recipe(batch_size=8))


def test_another_architecture_for_an_entity_is_told():
    sizes = iter([6, 7])
    with pytest.raises(ModelError, match="other parameters than"):
        train_fleet(lambda: Net(next(sizes)), MEMBERS[:2], Recipe(batch_size=8))


def test_outputs_that_do_not_fit_the_targets_are_told():
    with pytest.raises(ModelError, match=r"gives \(5, 6\) for a row, and its targets are \(1,\)"):
        train_fleet(lambda: nn.Sequential(nn.Linear(2, 6)), MEMBERS[:1], Recipe(batch_size=8))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "msee"}, "did you mean mse"),
        ({"optimizer": "adm"}, "did you mean adam"),
        ({"options": {"beta": 1}}, "did you mean betas"),
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": -1}, "learning_rate=-1"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told(changes, told):
    with pytest.raises(SettingsError) as error:
        Recipe(**changes)
    assert told in str(error.value)
