"""Several processes that train one model together."""

import signal
import time

import numpy as np
import pytest

from nemesyst.errors import ReplayError, ScriptError
from nemesyst.run import Job, LocalExecutor, Watcher
from nemesyst.run.parallel.choosing import framework_of, imported_by
from nemesyst.run.parallel.ranks import Ranks
from nemesyst.run.parallel.trees import map_leaves

slow = pytest.mark.slow

HEAD = """
import os, signal, time
import nemesyst as nm, torch

SPEC = nm.Feed("rows", inputs=["a", "b"], targets=["y"], batch_size={size}, shuffle=True, seed=3)

def make():
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8, affine=False, momentum=0.0), torch.nn.Linear(8, 1))

def step(net, optimizer, batch):
    x, y = torch.from_numpy(batch["x"]), torch.from_numpy(batch["y"])
    loss = ((net(x) - y) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    return loss.item()
"""

TRAIN = """
@nm.learner(SPEC, model="m", build=make)
def learn(run):
    net = make()
    net.eval()  # normalise by the running numbers: those of a batch differ between half and whole
    net, optimizer = run.prepare(net, torch.optim.Adam(net.parameters(), lr=0.02))
    curve = []
    for epoch in run.epochs(12):
        rows = 0
        for ids, batch in run.feed.train.with_ids():
            curve.append(run.mean(step(net, optimizer, batch)))
            rows += len(ids)
            if epoch == 0:
                run.hub.put("seen", [{"rank": run.rank, "row": each} for each in ids])
        run.log({"loss": curve[-1]}, step=epoch)
        if run.any(run.rank == run.world_size - 1 and epoch == 9):
            break
    drawn = run.context.group.gather(torch.rand(1).item())
    run.hub.put("curves", [{"rank": run.rank, "curve": curve, "drawn": drawn, "mean": run.mean({"rank": run.rank})["rank"]}])
    return nm.Trained(net, metrics={"epochs": epoch + 1})
"""

BREAK = """
@nm.learner(SPEC, model="m")
def learn(run):
    print("pid", os.getpid(), flush=True)
    net = run.prepare(make())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for number in range(100_000):
        for batch in run.feed.train:
            step(net, optimizer, batch)
        if run.rank == 1 and number == 2:
            {what}
"""


class Notes(Watcher):
    def __init__(self):
        self.pids, self.rows, self.first = [], 0, None

    def output(self, job, line):
        if line.startswith("pid "):
            self.pids.append(int(line.removeprefix("pid ")))

    def progress(self, job, event):
        self.rows = event.get("rows", self.rows)
        self.first = self.first or event.get("epoch")


@pytest.fixture
def script(hub, tmp_path):
    """Write a script for rows that are there."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    hub.put("rows", [{"a": float(a), "b": float(b), "y": float(2 * a - b)} for a, b in rows])

    def write(text, size=400):
        path = tmp_path / f"job{size}.py"
        path.write_text(HEAD.format(size=size) + text)
        return path

    return write


@pytest.fixture
def run_job(hub):
    """Run a learner to its end."""

    def run(path, workers, watcher=None):
        job = Job(path, "learn", "learn", workers=workers)
        with LocalExecutor(hub.settings.reveal(), processes=2) as executor:
            executor.launch(job, watcher or Notes())
            while not (reports := executor.wait(None)):
                pass
            return reports[0]

    return run


def gone(pid):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in open(f"/proc/{pid}/status").read():
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@slow
def test_two_workers_learn_as_one_with_the_doubled_batch(hub, script, run_job):
    notes = Notes()
    together = run_job(script(TRAIN, 200), 2, notes)
    assert together.error is None
    two = list(hub.db.curves.find(sort=[("rank", 1)]))
    rows = [{row["row"] for row in hub.db.seen.find({"rank": rank})} for rank in (0, 1)]
    hub.db.curves.drop()
    hub.db.seen.drop()
    assert run_job(script(TRAIN, 400), 1).error is None
    one = hub.db.curves.find_one()

    # the same losses, as far as the mean of two halves is rounded as that of the whole
    assert len(one["curve"]) == len(two[0]["curve"]) == 10
    np.testing.assert_allclose(two[0]["curve"], one["curve"], rtol=1e-4)
    assert two[0]["curve"] == two[1]["curve"]
    # disjoint even shares of all rows
    assert [len(ids) for ids in rows] == [200, 200]
    assert not rows[0] & rows[1]
    # reductions, and randomness of each rank's own
    assert two[0]["mean"] == two[1]["mean"] == 0.5
    assert two[0]["drawn"] == two[1]["drawn"]
    assert two[0]["drawn"][0] != two[0]["drawn"][1]
    # all stopped early, and what they told is that of one job
    assert hub.models.get("m@1").metrics["epochs"] == 10
    assert (notes.first, notes.rows) == ([1, 12, 400], 4000)
    # one version each, the wrapped model by itself, and lineage of the whole
    both = [hub.models.get(f"m@{number}") for number in (1, 2)]
    assert both[0].learner["workers"] == 2
    assert both[0].lineage["digest"] == both[1].lineage["digest"]
    assert both[0].rows == both[1].rows == {"all": 400}
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8, affine=False), torch.nn.Linear(8, 1))
    assert set(hub.models.load("m@1", into=net).state_dict()) == set(net.state_dict())
    with pytest.raises(ReplayError, match="2 workers trained it together"):
        hub.models.replay("m@1", script=script(TRAIN, 200))


@slow
def test_a_worker_that_fails_ends_the_job_with_its_line(hub, script, run_job):
    notes = Notes()
    report = run_job(script(BREAK.format(what="raise ValueError('broken sensor')")), 2, notes)
    assert "in learn: ValueError: broken sensor (worker 1 of 2)" in report.error.message
    assert not report.transient
    assert len(notes.pids) == 2
    assert all(gone(pid) for pid in notes.pids)


@slow
def test_a_worker_that_is_killed_ends_the_job(hub, script, run_job):
    notes = Notes()
    report = run_job(script(BREAK.format(what="os.kill(os.getpid(), signal.SIGKILL)")), 2, notes)
    assert "worker 1 of 2 was killed by SIGKILL" in report.error.message
    assert report.transient
    assert all(gone(pid) for pid in notes.pids)


@slow
@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_a_job_that_is_ended_takes_its_workers_along(hub, script, how):
    notes = Notes()
    job = Job(script(BREAK.format(what="pass")), "learn", "learn", workers=2)
    with LocalExecutor(hub.settings.reveal(), processes=2) as executor:
        executor.launch(job, notes)
        while len(notes.pids) < 2:
            assert not executor.wait(0.5)
        getattr(executor, how)(job)
        while not (reports := executor.wait(30)):
            pass
    assert reports[0].error is not None
    assert all(gone(pid) for pid in notes.pids)


JAX = """
import nemesyst as nm, jax, numpy as np
import jax.numpy as jnp

SPEC = nm.Feed("rows", inputs=["a", "b"], targets=["y"], batch_size={size})
gradient = jax.jit(jax.value_and_grad(lambda w, x, y: ((x @ w - y) ** 2).mean()))

@nm.learner(SPEC, model="m")
def learn(run):
    weights = run.prepare({{"w": jnp.full((2, 1), float(run.rank))}})["w"]  # those of rank 0
    for epoch in run.epochs(20):
        for batch in run.feed.train:
            loss, change = gradient(weights, batch["x"], batch["y"])
            weights = weights - 0.1 * run.mean(change)
    told = run.context.group.gather("x" * run.rank)
    assert not run.any(False) and run.any(run.rank == 0)
    assert run.mean({{"a": np.arange(2.0) * run.rank}})["a"][1] == (run.world_size - 1) / 2
    return nm.Trained({{"w": weights}}, metrics={{"loss": run.mean(float(loss)), "told": len(told)}})
"""


@slow
def test_two_workers_learn_as_one_in_jax(hub, script, run_job):
    pytest.importorskip("jax")
    for workers, size in ((2, 200), (1, 400)):
        path = script("", size)
        path.write_text(JAX.format(size=size))
        assert run_job(path, workers).error is None
    two, one = (hub.models.get(f"m@{number}") for number in (1, 2))
    assert two.metrics["told"] == 2
    assert two.metrics["loss"] == pytest.approx(one.metrics["loss"], rel=1e-4)
    together, alone = (hub.models.load(version.ref)["w"] for version in (two, one))
    np.testing.assert_allclose(together, alone, rtol=1e-4)


@pytest.mark.core
def test_the_framework_is_the_one_that_a_script_imports(tmp_path):
    script, beside = tmp_path / "job.py", tmp_path / "net.py"
    script.write_text("import net\n")
    beside.write_text("def make():\n    from torch import nn\n")
    assert imported_by(script) == {"net", "torch"}
    assert framework_of(script, "learn") == "torch"
    script.write_text("import jax\n")
    assert framework_of(script, "learn") == "jax"


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "told"), [("import keras", "Keras cannot train"), ("import sklearn", "neither PyTorch nor JAX")]
)
def test_a_script_that_cannot_train_together_is_refused(tmp_path, text, told):
    script = tmp_path / "job.py"
    script.write_text(text)
    with pytest.raises(ScriptError, match=told):
        framework_of(script, "learn")


@pytest.mark.core
def test_a_tree_keeps_its_shape():
    tree = {"b": [1.0, (2.0, None)], "a": np.ones(2)}
    doubled = map_leaves(lambda leaf: leaf * 2, tree)
    assert list(doubled) == ["b", "a"]
    assert doubled["b"] == [2.0, (4.0, None)]
    assert doubled["a"].tolist() == [2, 2]
    with pytest.raises(ScriptError, match=r"run\.mean: str has no mean"):
        map_leaves(abs, {"a": "x"})


def ranks(told, codes, tmp_path):
    """What a job of two says, of which the workers said this."""
    sent = []
    of_two = Ranks(Job(tmp_path / "job.py", "learn", "learn", workers=2), sent.append)
    with of_two:
        for rank, message in told:
            of_two.writers[rank].send(message)
    return of_two.tell_end(codes), sent


@pytest.mark.core
def test_the_error_of_a_job_is_not_that_of_a_worker_who_missed_another(tmp_path):
    lost = {"failed": {"message": "x: RuntimeError: gloo: connection closed", "lost": True}}
    broken = {"failed": {"message": "x: ValueError: broken", "lost": False}}
    code, sent = ranks([(0, lost), (1, broken)], {0: 1}, tmp_path)
    assert code == 1
    assert sent[-1]["failed"]["message"] == "x: ValueError: broken (worker 1 of 2)"
    _, sent = ranks([(0, lost)], {1: -signal.SIGKILL}, tmp_path)
    assert "worker 1 of 2 was killed by SIGKILL" in sent[-1]["failed"]["message"]
    interrupted = {"failed": {"message": "x: interrupted", "interrupted": True}}
    _, sent = ranks([(0, interrupted)], {1: -signal.SIGKILL}, tmp_path)
    assert "worker 1 of 2 was killed by SIGKILL" in sent[-1]["failed"]["message"]
    _, sent = ranks([(0, lost)], {0: 1}, tmp_path)
    assert "worker 1 of 2 died" in sent[-1]["failed"]["message"]


@pytest.mark.core
def test_rows_of_all_workers_are_summed(tmp_path):
    done = {"done": {"kind": "learn"}}
    told = [
        (0, {"rows": 5}),
        (1, {"rows": 7}),
        (1, done),
        (0, {"epoch": [1, 2, 10]}),
        (1, {"epoch": [1, 2, 10]}),
        (0, done),
    ]
    code, sent = ranks(told, {}, tmp_path)
    assert code == 0
    assert {"rows": 12} in sent
    assert sent.count({"epoch": [1, 2, 20]}) == 1
    assert sent[-1] == done
