"""Measuring on the validation part; what is kept of it, and when it ends a training."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, MismatchError, ModelError, ScriptError, SettingsError
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import JobContext, Run, stage_of, work

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="needs the torch extra")

FEED = nm.Feed("rows", inputs="x", targets="y", split=nm.Split(validation=0.3), scale="standard", batch_size=16)
MAE = {"mae": nm.mae}


@pytest.fixture
def rows(hub):
    hub.put("rows", [{"i": n, "x": n / 10, "y": n / 5 + 1} for n in range(100)], key="i")
    return hub


class Line(torch.nn.Module):
    """A slope, of which 1 is the truth where inputs and targets are scaled."""

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([slope]))
        self.drop = torch.nn.Dropout(0.9)

    def forward(self, x):
        return self.drop(x * self.slope)

    def at(self, slope):
        self.slope.data.fill_(slope)
        return self


class Half:
    """Of two workers this one, of which the other has found what it is told."""

    rank, size, device = 0, 2, "cpu"

    def __init__(self, other):
        self.other = other

    def unwrapped(self, model):
        return model

    def gather(self, value):
        return [value, self.other(value)]

    def broadcast(self, value):
        return [each + 1 for each in value]


def training(hub, slopes, *, net=None, **asked):
    """The run of a training that takes these slopes one after another, and its epochs."""
    run, net = Run(hub, bound=hub.feed(FEED)), net or Line()
    found = [run.validate(net.at(slopes[epoch]), MAE, **asked) for epoch in run.epochs(len(slopes))]
    return run, net, found


def test_metrics_are_over_the_whole_part_in_the_targets_own_units(rows):
    run, net = Run(rows, bound=rows.feed(FEED)), Line(0.5)
    net.train()
    found = run.validate(net, {"mae": nm.mae, "r2": nm.r2, "far": lambda y, p: np.abs(y - p).max()})
    raw = rows.feed(FEED.with_(scale=None)).validation.to_numpy()
    scaled = run.feed.validation.to_numpy()["x"]
    said = run.feed.unscale(scaled * 0.5)
    assert found.metrics["mae"] == pytest.approx(nm.mae(raw["y"], said), rel=1e-5)
    assert found.metrics["r2"] == pytest.approx(nm.r2(raw["y"], said), rel=1e-5)
    assert found.metrics["far"] == pytest.approx(np.abs(raw["y"] - said).max(), rel=1e-5)
    rows.models.save(net, "line", feed=run.feed)
    (same,) = rows.models.evaluate("line@1", run.feed.validation, "mae", build=Line).rows
    assert found.metrics["mae"] == pytest.approx(same.value, rel=1e-5)
    assert net.training
    assert net.drop.training


def test_it_is_logged_at_the_step_that_was_logged_last(rows):
    class Heard:
        logged = ()

        def log(self, values, step):
            self.logged = (*self.logged, (sorted(values), step))

    heard = Heard()
    run, net = Run(rows, bound=rows.feed(FEED), context=JobContext(recorder=heard)), Line(0.5)
    optimizer = torch.optim.SGD([{"params": net.parameters(), "lr": 0.25}])
    run.log({"loss/train": 1}, step=7)
    net.eval()(torch.ones(3, 1)).sum().backward()
    run.validate(net, MAE, optimizer=optimizer)
    assert heard.logged[1] == (["gradient_norm", "lr", "val/mae"], 7)
    assert '"gradient_norm":[[7,3.0' in run.curves.dumped().decode()
    assert '"lr":[[7,0.25' in run.curves.dumped().decode()


def test_without_a_step_of_its_own_each_validation_is_the_next(rows):
    run, _, _ = training(rows, [0.1, 0.2])
    run.validate(Line(), MAE, step=9)
    run.validate(Line(), ["rmse"])
    points = json.loads(run.curves.dumped())
    assert [point[0] for point in points["val/mae"]] == [0, 1, 9]
    assert [point[0] for point in points["val/rmse"]] == [9]


def test_the_loop_ends_by_itself_and_the_best_weights_are_put_back(rows):
    _, net, found = training(rows, [0.2, 0.9, 0.5, 0.4, 0.3, 1.0], keep="best", patience=3)
    assert [each.improved for each in found] == [True, True, False, False, False]
    assert [each.stop for each in found] == [False] * 4 + [True]
    assert net.slope.item() == pytest.approx(0.9)
    assert found[-1].best == found[1].metrics


def test_the_best_weights_are_put_back_after_the_last_epoch(rows):
    _, net, _ = training(rows, [0.9, 0.5], keep="best")
    assert net.slope.item() == pytest.approx(0.9)


def test_each_loop_begins_anew(rows):
    run, net, _ = training(rows, [0.9, 0.2, 0.3], keep="best", patience=1)
    asked = {"keep": "best", "patience": 1}
    stops = [run.validate(net.at([0.1, 0.2][epoch]), MAE, **asked).stop for epoch in run.epochs(2)]
    assert stops == [False, False]
    assert list(run.epochs(2)) == [0, 1]


def test_what_is_no_number_is_never_the_best(rows):
    _, net, found = training(rows, [float("nan"), 0.5, float("nan"), 2.0], keep="best", patience=2)
    assert [each.improved for each in found] == [False, True, False, False]
    assert net.slope.item() == 0.5


def test_a_loop_that_is_left_gets_the_best_weights_by_hand_or_is_warned(rows):
    def left(by_hand):
        @nm.learner(FEED, model="line")
        def learn(run):
            net = Line()
            for epoch in run.epochs(9):
                run.validate(net.at([0.9, 0.1][epoch]), MAE, keep="best")
                if epoch == 1:
                    break
            return nm.Trained(run.best(net) if by_hand else net, metrics={"slope": net.slope.item()})

        return work(rows, stage_of(learn), {}).details["versions"][0]["metrics"]["slope"]

    assert left(by_hand=True) == pytest.approx(0.9)
    with pytest.warns(UserWarning, match="run.best"):
        assert left(by_hand=False) == pytest.approx(0.1)


def test_trees_of_arrays_predict_by_a_function_and_are_given_anew(rows):
    jnp = pytest.importorskip("jax.numpy", reason="needs the jax extra")
    run = Run(rows, bound=rows.feed(FEED))
    for epoch in run.epochs(2):
        net = {"slope": jnp.full(1, [0.9, 0.1][epoch])}
        run.validate(net, MAE, keep="best", predict=lambda net, batch: net["slope"] * batch["x"])
    assert float(run.best(net)["slope"][0]) == pytest.approx(0.9)


def test_sums_of_all_workers_count_and_their_rows_weigh_functions(rows):
    alone = Run(rows, bound=rows.feed(FEED)).validate(Line(0.5), {"mae": nm.mae, "own": lambda y, p: 1.0}).metrics

    def other(mine):
        return {"rows": mine["rows"] * 3, "sums": {"mae": mine["sums"]["mae"] * [6, 3]}, "values": {"own": 5.0}}

    run = Run(rows, bound=rows.feed(FEED), context=JobContext(group=Half(other)))
    found = run.validate(Line(0.5), {"mae": nm.mae, "own": lambda y, p: 1.0}).metrics
    assert found["mae"] == pytest.approx(alone["mae"] * 7 / 4)
    assert found["own"] == pytest.approx(4.0)


def test_buffers_are_those_of_the_first_worker(rows):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(1))
    run = Run(rows, bound=rows.feed(FEED), context=JobContext(group=Half(lambda mine: mine)))
    run.validate(net, MAE)
    assert (float(net[0].running_mean), float(net[0].running_var), int(net[0].num_batches_tracked)) == (1.0, 2.0, 1)


def test_scores_of_classes_are_compared_with_their_codes(rows):
    rows.put("kinds", [{"i": n, "x": float(n), "kind": n % 3} for n in range(60)], key="i")
    run = Run(rows, bound=rows.feed("kinds", inputs="x", targets="kind", split=nm.Split(validation=0.5), batch_size=8))
    net = torch.nn.Sequential(torch.nn.Linear(1, 3))
    net[0].weight.data.zero_()
    net[0].bias.data.copy_(torch.tensor([0.0, 1.0, 0.0]))
    found = run.validate(net, ["accuracy"]).metrics["accuracy"]
    assert found == pytest.approx((run.feed.validation.to_numpy()["y"] == 1).mean())


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"keep": "last"}, ScriptError, "keep='last'"),
        ({"patience": 0}, ScriptError, "patience=0"),
        ({"patience": True}, ScriptError, "patience=True"),
        ({"better": "more"}, ScriptError, "better='more'"),
        ({"by": "mea"}, ScriptError, "did you mean"),
        ({"part": "train"}, ScriptError, "part='train'"),
        ({"part": "test", "keep": "best"}, ScriptError, "decide"),
        ({"part": "test"}, FeedError, "gave no row"),
        ({"metrics": {"own": lambda y, p: 0.0}, "patience": 1}, ScriptError, "better="),
        ({"metrics": {}}, SettingsError, "there are none"),
        ({"metrics": {"own": lambda y: 0.0}}, ModelError, "the metric own fails"),
        ({"metrics": [nm.accuracy]}, SettingsError, "accuracy: the target holds numbers"),
        ({"optimizer": object()}, ModelError, "no learning rate"),
        ({"predict": lambda net, batch: np.zeros((len(batch["x"]), 7))}, SettingsError, "shape"),
    ],
)
def test_a_mistake_is_named(rows, asked, error, text):
    run = Run(rows, bound=rows.feed(FEED))
    with pytest.raises(error, match=text):
        run.validate(Line(), asked.pop("metrics", MAE), **asked)


def test_a_feed_without_a_split_or_targets_is_named(rows):
    for spec, text in ((FEED.with_(split=None), "no validation part"), (FEED.with_(targets=None), "no targets")):
        with pytest.raises(FeedError, match=text):
            Run(rows, bound=rows.feed(spec)).validate(Line(), MAE)


def test_one_metric_decides(rows):
    run = Run(rows, bound=rows.feed(FEED))
    run.validate(Line(), {"mae": nm.mae, "r2": nm.r2}, keep="best")
    with pytest.raises(ScriptError, match="r2"):
        run.validate(Line(), {"mae": nm.mae, "r2": nm.r2}, keep="best", by="r2")
    with pytest.raises(MismatchError, match="do not fit"):
        run.best(torch.nn.Linear(1, 1))
    with pytest.raises(ScriptError, match="no weights were kept"):
        Run(rows).best(Line())


class StopError(Exception):
    """The training ends here."""


class Keeper:
    """A recorder over checkpoints alone."""

    def __init__(self, hub, *, resume):
        self.run, self.resume, self.kept = "r1", resume, Checkpoints(hub, "r1")

    def log(self, values, step):
        """Nothing."""

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last() if self.resume else None


SLOPES = [0.2, 0.9, 0.5, 0.4, 0.3, 1.0]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_resumed_training_stops_where_it_would_have_with_the_same_weights(rows, at):
    def job(resume=False, at=-1):
        validated = []

        @nm.learner(FEED, model="line")
        def learn(run):
            net = Line()
            run.resume(model=net)
            for epoch in run.epochs(len(SLOPES)):
                for _ in run.feed.train:
                    pass
                run.validate(net.at(SLOPES[epoch]), MAE, keep="best", patience=3)
                validated.append((epoch, run.curves.step))
                run.checkpoint(step=epoch, model=net)
                if epoch == at:
                    raise StopError
            return nm.Trained(net, metrics={"slope": net.slope.item()})

        keeper = Keeper(rows, resume=resume)
        try:
            found = work(rows, stage_of(learn), {}, JobContext(recorder=keeper)).details["versions"][0]["metrics"][
                "slope"
            ]
        except StopError:
            found = None
        keeper.kept.close(finished=False)
        return found, validated

    assert job(at=at) == (None, [(epoch, epoch) for epoch in range(at + 1)])
    slope, validated = job(resume=True)
    assert slope == pytest.approx(0.9)
    assert validated == [(epoch, epoch) for epoch in range(at + 1, 5)]
