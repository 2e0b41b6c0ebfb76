"""Many small models at once: 2,600 site LSTMs as a fleet, one after another, and in a process each.

    python benchmarks/fleet.py                                   # the full size
    python benchmarks/fleet.py --sites 200 --alone 10 --processes 3   # a look

Rows of all sites are put into a database of their own, which is dropped at the end. Each way trains the same network
(an LSTM of 32 units and a linear layer) from the same feed for the same epochs, and stores a version for each site.
One after another is a learner with ``entities=`` whose jobs run in this process; a process each is the same by the
round, with one process at a time; both are measured on a few sites and extrapolated. The last line leaves the database
out: training alone on arrays in memory, by the fleet and by PyTorch's own loop.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nemesyst as nm
from nemesyst.frameworks import Member, Recipe, first_module, train_fleet
from nemesyst.frameworks.batched.plan import order_of
from nemesyst.stages import JobContext, load_script, work

SCRIPT = """
import torch
import nemesyst as nm


def make_net():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = torch.nn.LSTM(4, 32, batch_first=True), torch.nn.Linear(32, 1)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])

    return Net()


FEED = nm.Feed(
    "rows", inputs=["a", "b", "c", "d"], targets="a", window=nm.Window(by="site", on="t", length={steps}),
    scale="standard", batch_size={batch}, shuffle=True,
)
fleet = nm.fleet(make_net, entities="site", feed=FEED, model="fleet", epochs=5)


@nm.learner(FEED, model="alone", build=make_net, entities=[{sites}])
def alone(run, epochs: int = 5):
    net = make_net()
    optimizer = torch.optim.Adam(net.parameters())
    for _ in run.epochs(epochs):
        for batch in run.feed.train.to_torch():
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(batch["x"]), batch["y"][:, 0]).backward()
            optimizer.step()
    return nm.Trained(net)
"""


def put_rows(hub: nm.Hub, sites: int, windows: int, steps: int) -> None:
    random, length = np.random.default_rng(0), windows + steps
    for site in range(sites):
        drawn = np.cumsum(random.normal(size=(length, 4)), axis=0)
        rows = ({"site": site, "t": t, **dict(zip("abcd", each, strict=True))} for t, each in enumerate(drawn.tolist()))
        hub.put("rows", rows, key=("site", "t"))


def script(folder: Path, asked: argparse.Namespace, sites: int) -> Path:
    path = folder / f"train_{sites}.py"
    listed = ", ".join(map(str, range(sites)))
    path.write_text(
        SCRIPT.replace("{steps}", str(asked.steps)).replace("{batch}", str(asked.batch)).replace("{sites}", listed)
    )
    return path


def as_a_fleet(hub: nm.Hub, folder: Path, asked: argparse.Namespace) -> float:
    begin = time.perf_counter()
    outcome = work(hub, load_script(script(folder, asked, 1)).stage("fleet"), {})
    print(f"  {outcome.summary}")
    return time.perf_counter() - begin


def one_after_another(hub: nm.Hub, folder: Path, asked: argparse.Namespace) -> float:
    stage = load_script(script(folder, asked, asked.alone)).stage("alone")
    work(hub, stage, {}, JobContext(entity=0))
    begin = time.perf_counter()
    for site in range(1, asked.alone):
        work(hub, stage, {}, JobContext(entity=site))
    return (time.perf_counter() - begin) / (int(asked.alone) - 1)


def a_process_each(hub: nm.Hub, folder: Path, asked: argparse.Namespace) -> float:
    path = script(folder, asked, asked.processes)
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import nemesyst as nm, pathlib\n"
        "from nemesyst.stages import JobContext, load_script, work\n"
        f"hub = nm.connect({asked.address!r}, database={hub.db.name!r}, state={hub.state.name!r})\n"
        f"stage = load_script(pathlib.Path({str(path)!r})).stage('alone')\n"
        "work(hub, stage, {}, JobContext(entity=int(sys.argv[1])))\n"
    )
    begin = time.perf_counter()
    for site in range(asked.processes):
        subprocess.run([sys.executable, "-c", program, str(site)], check=True)
    return (time.perf_counter() - begin) / int(asked.processes)


def training_alone(folder: Path, asked: argparse.Namespace) -> tuple[float, dict[int, float]]:
    """Seconds of a model on arrays in memory: in a fleet, and by PyTorch's own with one thread and with all."""
    namespace: dict[str, Any] = {}
    exec(script(folder, asked, 1).read_text(), namespace)  # noqa: S102 - it is ours
    random = np.random.default_rng(0)

    def part() -> dict[str, Any]:
        shape = (asked.windows, asked.steps, 4)
        return {"x": random.normal(size=shape).astype("f4"), "y": random.normal(size=(asked.windows, 1)).astype("f4")}

    members, recipe = [Member(str(n), part(), {}) for n in range(256)], Recipe(epochs=2, batch_size=asked.batch)
    begin = time.perf_counter()
    train_fleet(namespace["make_net"], members, recipe)
    ours = (time.perf_counter() - begin) / len(members)
    threads, theirs = torch.get_num_threads(), {}
    for count in {1, threads}:
        torch.set_num_threads(count)
        theirs[count] = plain_loop(namespace["make_net"], members[: asked.alone], recipe)
    torch.set_num_threads(threads)
    return ours, theirs


def plain_loop(build: Any, members: list[Member], recipe: Recipe) -> float:
    begin = time.perf_counter()
    for member in members:
        net = first_module(build, 0, member.name)
        optimizer = torch.optim.Adam(net.parameters())
        x, y = torch.from_numpy(member.train["x"]), torch.from_numpy(member.train["y"])
        for epoch in range(recipe.epochs):
            order = torch.from_numpy(order_of(recipe, member.name, epoch, len(y)))
            for rows in torch.split(order, recipe.batch_size):
                optimizer.zero_grad()
                torch.autograd.backward(torch.nn.functional.mse_loss(net(x[rows]), y[rows]))
                optimizer.step()
    return (time.perf_counter() - begin) / len(members)


def told(what: str, each: float, sites: int, fleet: float) -> None:
    print(f"{what:20} {each * sites:8.1f} s   {1000 * each:7.1f} ms a model   {each * sites / fleet:5.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help="a replica set; without it the embedded server")
    parser.add_argument("--sites", type=int, default=2600)
    parser.add_argument("--windows", type=int, default=300, help="windows of a site")
    parser.add_argument("--steps", type=int, default=12, help="steps of a window")
    parser.add_argument("--batch", type=int, default=16, help="windows of a batch")
    parser.add_argument("--alone", type=int, default=40, help="sites that are trained one after another")
    parser.add_argument("--processes", type=int, default=20, help="sites that are trained in a process each")
    asked = parser.parse_args()
    mark = uuid.uuid4().hex[:6]
    with (
        tempfile.TemporaryDirectory() as name,
        nm.connect(asked.address, database=f"h_fleet_{mark}", state=f"h_fleet_state_{mark}") as hub,
    ):
        folder = Path(name)
        try:
            put_rows(hub, asked.sites, asked.windows, asked.steps)
            print(f"{asked.sites:,} sites of {asked.windows} windows of {asked.steps} steps")
            fleet = as_a_fleet(hub, folder, asked)
            told("as a fleet", fleet / asked.sites, asked.sites, fleet)
            ours, theirs = training_alone(folder, asked)
            best = min(theirs, key=lambda count: theirs[count])
            os.environ["OMP_NUM_THREADS"] = str(best)  # models alone are trained with what is best for them
            torch.set_num_threads(best)
            told("one after another", one_after_another(hub, folder, asked), asked.sites, fleet)
            told("a process each", a_process_each(hub, folder, asked), asked.sites, fleet)
            print(f"training in memory   fleet {1000 * ours:.1f} ms a model of 2 epochs")
            for count, each in theirs.items():
                print(f"  PyTorch, {count} threads   {1000 * each:.1f} ms   {each / ours:.1f}x")
        finally:
            hub.db.client.drop_database(hub.db.name)
            hub.state.client.drop_database(hub.state.name)


if __name__ == "__main__":
    main()
