"""What a checkpoint holds, and what a run goes on with; in this process, interrupted by an exception."""

from __future__ import annotations

import random

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import ScriptError
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.stages import JobContext, stage_of, work

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="needs the torch extra")


class StoppedError(Exception):
    """The training ends here."""


class Keeper:
    """A recorder over checkpoints alone."""

    def __init__(self, hub, resume=0, fails=False):
        self.fails = fails
        self.run, self.resume, self.expected, self.logged = "r1", bool(resume), resume, []
        self.kept = Checkpoints(hub, self.run)

    def log(self, values, step):
        self.logged.append((step, dict(values)))

    def save(self, step, snapshot):
        self.kept.save(step, snapshot)

    def last(self):
        return self.kept.last() if self.resume else None


def noisy(batch, rng):
    return {**batch, "x": batch["x"] + rng.normal(0, 0.01, batch["x"].shape).astype("f4")}


FEED = nm.Feed(
    "rows", inputs=["a", "b"], targets="y", split=nm.Split(validation=0.2), scale="standard", map=noisy, batch_size=32,
    shuffle=True, seed=3,
)  # fmt: skip


def make():
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    return net, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.5)


def train(run, at=-1, every=5, loader=lambda feed: feed.to_torch(), take=iter):
    """A training with dropout, Adam and a schedule; it ends with an exception after step ``at``."""
    net, optimizer, schedule = make()
    also = {"schedule": schedule}
    found = run.resume(model=net, optimizer=optimizer, also=also)
    step = 0 if found is None else found.step
    if run.context.recorder.resume:
        assert found.step == run.context.recorder.expected  # else the same weights would prove nothing
    data = loader(run.feed.train)
    for _ in run.epochs(3):
        for batch in take(data):
            loss = torch.nn.functional.mse_loss(net(batch["x"]), batch["y"]) + 0.01 * random.random()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            run.log({"loss/train": loss.item()}, step=step)
            if step % every == 0:
                run.checkpoint(step=step, model=net, optimizer=optimizer, also=also)
            if step == at:
                raise StoppedError
    return nm.Trained(net, metrics={"steps": step})


@pytest.fixture
def rows(hub):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(600, 2))
    hub.put("rows", [{"i": n, "a": a, "b": b, "y": a - b} for n, (a, b) in enumerate(values)], key="i")
    return hub


def job(hub, function, resume=0, fails=False, **named):
    """Run a learner, which is to go on from step ``resume``; its weights, or None if it was interrupted."""
    keeper = Keeper(hub, resume, fails)

    def learn(run):
        return function(run)

    stage = stage_of(nm.learner(FEED, model="net", **named)(learn))
    try:
        outcome = work(hub, stage, {}, JobContext(recorder=keeper))
    except StoppedError:
        keeper.kept.close(finished=False)
        return None
    keeper.kept.close(finished=True)
    net = hub.models.load(outcome.details["versions"][0]["ref"], into=make()[0])
    return {name: values.numpy().copy() for name, values in net.state_dict().items()}


def same(one, other):
    return all(np.array_equal(values, other[name]) for name, values in one.items())


@pytest.mark.parametrize("at", [7, 15, 31])
def test_an_interrupted_training_ends_with_the_same_weights(rows, at):
    whole = job(rows, train)
    assert job(rows, lambda run: train(run, at)) is None
    rows.put("rows", [{"i": 1000, "a": 9.0, "b": 9.0, "y": 9.0}], key="i")  # it belongs to the next cutoff
    assert same(whole, job(rows, train, resume=at // 5 * 5))
    assert rows.state.checkpoints.count_documents({}) == rows.state.blobs.count_documents({}) == 0


def data_loader(workers):
    def make(feed):
        return torch.utils.data.DataLoader(feed.to_torch(), batch_size=None, num_workers=workers)

    return make


def ended(run):
    """A training whose checkpoints are made at the end of each epoch."""
    net, optimizer, schedule = make()
    found = run.resume(model=net, optimizer=optimizer, also={"schedule": schedule})
    if run.context.recorder.resume:
        assert (found.step, found.epoch) == (1, 2)
    for epoch in run.epochs(4):
        if epoch == 2 and found is None and run.context.recorder.fails:
            raise StoppedError
        for batch in data_loader(0)(run.feed.train):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(batch["x"]), batch["y"]).backward()
            optimizer.step()
        schedule.step()
        run.checkpoint(step=epoch, model=net, optimizer=optimizer, also={"schedule": schedule})
    return nm.Trained(net)


def test_a_loader_that_draws_numbers_as_it_begins_changes_nothing(rows):
    def loaded(run, at=-1):
        return train(run, at, loader=data_loader(0))

    whole = job(rows, loaded)
    assert job(rows, lambda run: loaded(run, 22)) is None
    assert same(whole, job(rows, loaded, resume=20))


def test_worker_processes_read_ahead_and_what_the_loop_has_taken_counts(rows):
    def loaded(run, at=-1):
        return train(run, at, loader=data_loader(2), take=run.batches)

    whole = job(rows, loaded)
    assert same(whole, job(rows, lambda run: train(run, loader=data_loader(0))))
    assert job(rows, lambda run: loaded(run, 22)) is None
    assert same(whole, job(rows, loaded, resume=20))


def test_reading_ahead_uncounted_is_refused(rows):
    with pytest.raises(ScriptError, match="read ahead of the loop.*\n.*run.batches"):
        job(rows, lambda run: train(run, loader=data_loader(1)))


def test_a_checkpoint_behind_the_last_batch_ends_the_epoch(rows):
    whole = job(rows, ended)
    assert job(rows, ended, fails=True) is None
    assert same(whole, job(rows, ended, resume=1))
