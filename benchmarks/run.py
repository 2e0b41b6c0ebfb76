"""Figures of rounds, executors and training together, each beside what is ideal, measured in one run.

    python benchmarks/run.py [FIGURE...] [--scale 1.0] [--address mongodb://...]

One function per figure, named in FIGURES; without names all are measured. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measuring import place
from measuring.table import judge

from nemesyst.run import Job, LocalExecutor, Watcher, Work, recorded, run_rounds
from nemesyst.run.threads import cores
from nemesyst.stages import Alone, JobContext, Run, Silent, load_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from measuring import Place

    from nemesyst.run import JobReport

SCRIPTS = Path(__file__).parent / "scripts"


def jobs_from(script: str, count: int, **args: object) -> list[Job]:
    """So many jobs of a script's only stage."""
    (stage,) = load_script(SCRIPTS / script).stages
    job = Job(SCRIPTS / script, stage.name, stage.kind, args=args)
    return [replace(job, label=str(number)) for number in range(count)]


def run_jobs(place: Place, jobs: Sequence[Job], processes: int) -> tuple[float, list[JobReport]]:
    """Run jobs on this machine: seconds that it took, and what became of them."""
    values = place.hub.settings.reveal() | {"database": place.hub.db.name, "state": place.hub.state.name}
    begin = time.perf_counter()
    with LocalExecutor(values, processes) as executor:
        reports = run_rounds(jobs, executor, Watcher())
        seconds = time.perf_counter() - begin
    for report in reports:
        if report.error is not None:
            raise report.error
    return seconds, reports


def side_by_side(place: Place, scale: float) -> None:
    """Eight learners that each use a core, one after another and side by side."""
    place.hub.put("few", [{"x": float(number)} for number in range(8)])
    steps = int(12_000_000 * scale)
    jobs = jobs_from("busy.py", 8, steps=steps)
    serial, _ = run_jobs(place, jobs, 1)
    together, _ = run_jobs(place, jobs, cores())
    ideal = serial / cores()
    print(f"\neight learners that each use a core, on {cores()} cores")
    for name, seconds in (("one after another", serial), ("side by side", together), ("ideal", ideal)):
        print(f"  {name:20} {seconds:8.2f} s")
    judge("side by side / ideal", together / ideal, at_most=1.1)


def launch_cost(place: Place, scale: float) -> None:
    """What it takes to start a job, do next to nothing, and end it, once the first is up."""
    count = max(4, int(20 * scale))
    print("\nlaunch cost of a job, once the first is up")
    for script, target in (("tiny.py", 0.3), ("tiny_torch.py", None)):
        _, reports = run_jobs(place, jobs_from(script, count), 1)
        seconds = statistics.median(report.seconds for report in reports[2:])
        print(f"  {script:16} first {reports[0].seconds:6.2f} s, then {seconds:6.3f} s")
        if target is not None:
            judge("seconds for a script without a framework", seconds, at_most=target)
    for name, code in (("python alone", "pass"), ("import nemesyst.run.worker", "import nemesyst.run.worker")):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        print(f"  beside it: {name:28} {time.perf_counter() - begin:6.3f} s")


def data_parallel(place: Place, scale: float) -> None:
    """Two workers beside one: our feed, and PyTorch's own DistributedDataParallel on tensors in memory."""
    rows = int(200_000 * scale)
    values = np.random.default_rng(0).normal(size=(rows, 8)).astype("f4")
    place.hub.put("many", ({"v": row, "y": float(row[:2].sum())} for row in values))
    (job,) = jobs_from("together.py", 1, epochs=4)
    print(f"\ntraining together, seconds of an epoch of {rows:,} rows ({cores()} cores)")
    for source in ("memory", "feed"):
        found = {}
        for workers in (1, 2):
            # one worker takes batches twice as large, so that both make the same steps
            given = replace(job, workers=workers, args={**job.args, "source": source, "size": 1024 // workers})
            _, (report,) = run_jobs(place, [given], 2)
            metrics = report.outcome.details["versions"][0]["metrics"] if report.outcome else {}
            found[workers] = (metrics["seconds"], metrics["loss"])
        speedup = found[1][0] / found[2][0]
        print(
            f"  {source:8} one worker {found[1][0]:7.3f} s, two {found[2][0]:7.3f} s: speed-up {speedup:4.2f}; "
            f"losses {found[1][1]:.5f} and {found[2][1]:.5f}"
        )


def logging(place: Place, scale: float) -> None:
    """``run.log`` of two numbers at each step of a training, in the case study's size, and of next to none."""
    import torch

    class Last(torch.nn.Module):
        def forward(self, states: tuple[torch.Tensor, object]) -> torch.Tensor:
            return states[0][:, -1]

    nets = {
        "an LSTM of 32 units, 64 windows of 32": ((64, 32, 8), (torch.nn.LSTM(8, 32, batch_first=True), Last())),
        "32 units, 256 rows": ((256, 8), (torch.nn.Linear(8, 32), torch.nn.ReLU())),
    }
    torch.set_num_threads(1)  # more are slower for so small a net
    print("\nrun.log of two numbers at each step of")
    for name, (shape, layers) in nets.items():
        net = torch.nn.Sequential(*layers, torch.nn.Linear(32, 1))
        of_step, of_log = _logged(place, net, torch.randn(shape), max(300, int(2_000 * scale)))
        print(
            f"  {name}: {of_log * 1e6:.1f} us, the step {of_step * 1e6:.0f} us: {100 * of_log / of_step:.2f} per cent"
        )
        if "LSTM" in name:
            judge("run.log, per cent of the step", 100 * of_log / of_step, at_most=1.0)


def _logged(place: Place, net: torch.nn.Module, x: torch.Tensor, steps: int) -> tuple[float, float]:
    """Seconds of a step, and of its ``run.log``, at the median."""
    import torch

    optimizer, y = torch.optim.Adam(net.parameters()), torch.randn(len(x), 1)
    trained, logged = [], []
    with recorded(place.hub, Work("benchmark", "learn", "learn"), Alone()) as recorder:
        run = Run(place.hub, context=JobContext(progress=recorder.watching(Silent()), recorder=recorder))
        for step in range(steps):
            begin = time.perf_counter()
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(net(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            between = time.perf_counter()
            run.log({"loss/train": loss.detach(), "lr": 0.001}, step=step)
            logged.append(time.perf_counter() - between)
            trained.append(between - begin)
    return statistics.median(trained), statistics.median(logged)


def overhead(place: Place, scale: float) -> None:
    """A learner that logs each step and makes a checkpoint every 100, beside the same loop over tensors in memory."""
    import torch
    from feed_training import BATCH, make_net, of_feed, of_memory

    rng, count = np.random.default_rng(0), int(20_000 * scale) // BATCH * BATCH
    images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count)
    place.hub.put(
        "pictures", ({"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True))
    )
    feed = place.hub.feed("pictures", inputs="image", targets="label", batch_size=BATCH, shuffle=True)
    in_memory = torch.from_numpy(images), torch.from_numpy(labels)
    found: dict[str, list[float]] = {"bare": [], "learner": []}
    with recorded(place.hub, Work("bench", "overhead", "learn"), Alone()) as recorder:
        run = Run(place.hub, feed, context=JobContext(progress=recorder.watching(Silent()), recorder=recorder))
        trainings = {}
        for name in found:
            net = make_net()
            trainings[name] = net, torch.optim.Adam(net.parameters())
        snapshots, step = [], 0
        for number in range(7):
            for name, (net, optimizer) in trainings.items():
                begin = time.perf_counter()
                for x, y in of_memory(*in_memory) if name == "bare" else of_feed(feed.train.to_torch()):
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(net(x.unsqueeze(1).float() / 255), y)
                    loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own
                    optimizer.step()
                    if name == "bare":
                        continue
                    step += 1
                    run.log({"loss/train": loss.detach()}, step=step)
                    if step % 100 == 0:
                        before = time.perf_counter()
                        run.checkpoint(step=step, model=net, optimizer=optimizer)
                        snapshots.append(time.perf_counter() - before)
                if number:  # the first epoch fills the cache
                    found[name].append(time.perf_counter() - begin)
    bare, ours = statistics.median(found["bare"]), statistics.median(found["learner"])
    print(f"\nan epoch of {count // BATCH} steps of a small CNN: bare loop {bare:.2f} s, learner {ours:.2f} s")
    print(f"  a checkpoint takes the training thread {1000 * statistics.median(snapshots):.2f} ms (median)")
    judge("learner / bare loop", ours / bare, at_most=1.03)


FIGURES: dict[str, Callable[[Place, float], None]] = {
    "side_by_side": side_by_side,
    "launch_cost": launch_cost,
    "data_parallel": data_parallel,
    "logging": logging,
    "overhead": overhead,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", help=f"which of {', '.join(FIGURES)}; none: all")
    parser.add_argument("--scale", type=float, default=1.0, help="how much work, as a share of the usual")
    parser.add_argument("--address", help="a MongoDB; none: an embedded server of its own")
    given = parser.parse_args()
    with place(given.address) as where:
        for name in given.figures or FIGURES:
            FIGURES[name](where, given.scale)


if __name__ == "__main__":
    main()
