"""Workers that train one model together validate it together."""

import numpy as np
import pytest

from nemesyst.run import Job, LocalExecutor, Watcher
from nemesyst.stages import load_script

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="needs the torch extra")

SCRIPT = """
import nemesyst as nm, torch

SPEC = nm.Feed("rows", inputs="x", targets="y", split=nm.Split(validation=0.3), scale="standard", batch_size=32, shuffle=True)

def make():
    return torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

@nm.learner(SPEC, model="m", build=make, workers=2)
def learn(run):
    net, optimizer = run.prepare(net := make(), torch.optim.Adam(net.parameters(), lr=0.2))
    for epoch in run.epochs(40):
        for batch in run.feed.train.to_torch():
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(batch["x"]), batch["y"]).backward()
            optimizer.step()
        found = run.validate(net, {"mae": nm.mae, "own": lambda y, p: abs(y - p).mean()}, keep="best", patience=3)
    print("told", epoch, found.best["mae"], flush=True)
    return nm.Trained(net, metrics=found.best)
"""


class Told(Watcher):
    def __init__(self):
        self.lines = []

    def output(self, job, line):
        self.lines += [line] if "told" in line else []


def test_all_stop_at_the_same_epoch_and_the_stored_model_is_the_one_that_was_measured(hub, tmp_path):
    rng = np.random.default_rng(0)
    hub.put("rows", [{"i": n, "x": float(x), "y": float(x**2)} for n, x in enumerate(rng.normal(size=301))], key="i")
    (path := tmp_path / "job.py").write_text(SCRIPT)
    told = Told()
    with LocalExecutor(hub.settings.reveal(), processes=2) as executor:
        executor.launch(Job(path, "learn", "learn", workers=2), told)
        while not (reports := executor.wait(None)):
            pass
    assert reports[0].error is None
    assert len(told.lines) == 2
    assert len(set(told.lines)) == 1
    version = hub.models.get("m@1")
    assert version.metrics["own"] == pytest.approx(version.metrics["mae"], rel=1e-5)
    build = load_script(path).stage("learn").build
    (again,) = hub.models.evaluate("m@1", hub.feed(version.feed).validation, "mae", build=build).rows
    assert version.metrics["mae"] == pytest.approx(again.value, rel=1e-5)
