"""A training that goes on with another number of workers: no row is lost, and none comes twice."""

from __future__ import annotations

from collections import Counter

import pytest

from nemesyst.run import Job, LocalExecutor, Watcher

pytestmark = pytest.mark.slow

pytest.importorskip("torch", reason="needs the torch extra")

SCRIPT = """
import os, signal, time
import nemesyst as nm, torch

SPEC = nm.Feed("rows", inputs=["i"], targets=["y"], batch_size=16, shuffle=True, seed=3)
KILLS = {2: 5, 1: 12}

@nm.learner(SPEC, model="m")
def learn(run):
    net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    found = run.resume(model=net, optimizer=optimizer)
    net = run.prepare(net)
    begun = step = 0 if found is None else found.step
    if found is not None and run.rank == 0:  # what was made of the batches after the checkpoint is gone with them
        run.hub.db.seen.delete_many({"step": {"$gt": step}})
        print("from", step, "on", run.world_size, flush=True)
    run.any(False)
    for epoch in run.epochs(3):
        for batch in run.feed.train:
            x, y = torch.from_numpy(batch["x"]), torch.from_numpy(batch["y"])
            if len(x):
                ((net(x) - y) ** 2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            seen = {"epoch": epoch, "step": step, "rows": batch["x"][:, 0].tolist(), "world": run.world_size}
            run.hub.db.seen.insert_one(seen)
            run.checkpoint(step=step, model=net, optimizer=optimizer)
            if not os.path.exists(__file__ + ".last") and step == KILLS[run.world_size] and run.any(True):
                while run.rank == 0 and run.hub.state.checkpoints.find_one({"step": {"$gt": begun}}) is None:
                    time.sleep(0.01)
                run.any(True)
                os.kill(os.getpid(), signal.SIGKILL)
    return nm.Trained(net, metrics={"steps": step})
"""


class Lines(Watcher):
    """What was printed."""

    def __init__(self):
        self.said = []

    def output(self, job, line):
        self.said.append(line)


@pytest.fixture
def train(hub, tmp_path):
    """Train on so many workers; the report, and what was printed."""
    hub.put("rows", [{"i": float(n), "y": n / 400} for n in range(400)])
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)

    def run(workers, last=False):
        if last:
            (tmp_path / "job.py.last").touch()
        watcher = Lines()
        job = Job(path, "learn", "learn", workers=workers, resume=True)
        with LocalExecutor(hub.settings.reveal(), processes=2) as executor:
            executor.launch(job, watcher)
            while not (reports := executor.wait(None)):
                pass
        return reports[0], [line for line in watcher.said if line.startswith("from ")]

    return run


def test_two_workers_then_one_then_two_see_each_row_once_per_epoch(train, hub):
    killed, said = train(2)
    assert killed.error is not None
    assert said == []
    killed, said = train(1)
    assert killed.error is not None
    assert said[0].endswith(" on 1")
    done, said = train(2, last=True)
    assert done.error is None, done.error
    assert said[0].endswith(" on 2")
    batches = list(hub.db.seen.find())
    for epoch in range(3):
        rows = Counter(int(row) for each in batches if each["epoch"] == epoch for row in each["rows"])
        assert rows == dict.fromkeys(range(400), 1), f"epoch {epoch}"
    assert {each["world"] for each in batches if each["epoch"] == 0} == {1, 2}
