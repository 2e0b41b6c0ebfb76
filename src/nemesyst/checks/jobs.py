"""Jobs for the conformance suite of executors, and what one run of it works on."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.checks.case import CheckError, require
from nemesyst.run import Job, JobReport, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemesyst.hub import Hub
    from nemesyst.run import Executor

SCRIPT = """
import os, signal, socket, subprocess, sys, time

import nemesyst as nm

ROW = {"pid": os.getpid(), "host": socket.gethostname()}


@nm.wrangler(into="meetings")
def meets(run, me: str = "", other: str = ""):
    run.hub.put("meetings", [{"who": me, **ROW}])
    until = time.monotonic() + 200
    while run.hub.db.meetings.find_one({"who": other}) is None:
        if time.monotonic() > until:
            raise TimeoutError(f"{other} never came")
        time.sleep(0.02)
    yield {"who": me, "met": other}


@nm.wrangler(into="things")
def brings(run, count: int = 1, word: str = "none"):
    yield {"entity": run.entity, "count": count, "kind": type(count).__name__, "word": word}


@nm.wrangler(into="talk")
def talks(run, lines: int = 500):
    for number in range(lines):
        print("line", number, flush=not number % 7)
        run.context.progress.rows(1)
        yield {"number": number}
    print("complaint", file=sys.stderr)
    run.log({"loss": 0.25}, step=7)


@nm.wrangler(into="broken")
def breaks(run):
    yield {"number": 1}
    raise ValueError("broken sensor")


@nm.wrangler(into="broken", key="number")
def offends(run):
    run.hub.put("$broken", [])
    yield {}


@nm.wrangler(into="dead")
def dies(run, times: int = 1_000_000):
    print("so far", flush=True)
    if run.hub.db.deaths.count_documents({}) < times:
        run.hub.put("deaths", [dict(ROW)])
        os.kill(os.getpid(), signal.SIGKILL)
    yield {"alive": True}


@nm.wrangler(into="hung")
def hangs(run, deaf: bool = False):
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "1000"])
    run.hub.put("hanging", [{**ROW, "child": child.pid}])
    print("ready", flush=True)
    try:
        while True:
            time.sleep(1000)
    finally:
        child.kill()
        run.hub.put("tidied", [dict(ROW)])
    yield {}
"""

TOGETHER = """
import os, signal

import nemesyst as nm, torch

SPEC = nm.Feed("shared", inputs=["i"], targets=["y"], batch_size=8, shuffle=True, seed=1)


@nm.learner(SPEC, model="together")
def together(run, deadly: bool = False):
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    found = run.resume(model=net, optimizer=optimizer)
    begun = step = 0 if found is None else found.step
    net = run.prepare(net)
    for epoch in run.epochs(2):
        for ids, batch in run.feed.train.with_ids():
            loss = ((net(torch.from_numpy(batch["x"])) - torch.from_numpy(batch["y"])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            seen = {"rank": run.rank, "epoch": epoch, "step": step, "begun": begun}
            run.hub.put("seen", [{**seen, "row": int(i)} for i in batch["x"][:, 0]])
            run.checkpoint(step=step, model=net, optimizer=optimizer)
            run.any(False)
            if deadly and found is None and step == 3:
                kept = False
                while not run.any(kept):
                    kept = run.hub.state.checkpoints.find_one({"step": 3}) is not None
                if run.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
    weights = run.context.group.gather(float(run.context.group.unwrapped(net).weight.detach().sum()))
    run.hub.put("agreed", [{"rank": run.rank, "mean": run.mean(float(run.rank)), "weights": weights}])
    return nm.Trained(net, metrics={"steps": step})
"""


class Notes(Watcher):
    """What jobs have told, by job."""

    def __init__(self) -> None:
        self.lines: dict[Job, list[str]] = {}
        self.events: dict[Job, list[Mapping[str, Any]]] = {}

    def output(self, job: Job, line: str) -> None:
        """Note a line."""
        self.lines.setdefault(job, []).append(line)

    def progress(self, job: Job, event: Mapping[str, Any]) -> None:
        """Note a message."""
        self.events.setdefault(job, []).append(event)


@dataclass
class Trial:
    """What one run of the suite works on."""

    executor: Executor
    hub: Hub
    folder: Path
    patience: float
    together: bool
    notes: Notes = field(default_factory=Notes)
    running: list[Job] = field(default_factory=list)

    def job(self, name: str, label: str = "", **more: Any) -> Job:
        """A job of the script."""
        learns = name == "together"
        script = self.folder / ("together.py" if learns else "jobs.py")
        return Job(script, name, "learn" if learns else "wrangle", label, **more)

    def launch(self, *jobs: Job) -> None:
        """Launch jobs."""
        for job in jobs:
            self.executor.launch(job, self.notes)
            self.running.append(job)

    def end(self) -> dict[Job, JobReport]:
        """Wait until all have ended; their reports."""
        reports: dict[Job, JobReport] = {}
        self.until(lambda: self._took(reports), "the jobs have ended")
        return reports

    def _took(self, reports: dict[Job, JobReport]) -> bool:
        for report in self.executor.wait(0.5) if self.running else []:
            require(report.job in self.running, f"a report of {report.job}, which does not run")
            self.running.remove(report.job)
            reports[report.job] = report
        return not self.running

    def run(self, *jobs: Job) -> list[JobReport]:
        """Launch jobs and wait for all; their reports, in this order."""
        self.launch(*jobs)
        reports = self.end()
        return [reports[job] for job in jobs]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so."""
        until = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > until:
                raise CheckError(f"{self.patience:g} s have passed, and it is still not so that {what}")

    def ready(self, job: Job) -> dict[str, Any]:
        """Wait until a job that hangs says that it does; its processes."""
        self.until(
            lambda: self.executor.wait(0.2) or "ready" in self.notes.lines.get(job, ()), f"{job} runs and tells so"
        )
        require("ready" in self.notes.lines.get(job, ()), f"{job} ended before it was asked to")
        found = self.hub.db["hanging"].find_one(sort=[("_id", -1)])
        return dict(found or {})

    def gone(self, row: Mapping[str, Any], *names: str) -> None:
        """Wait until processes are gone; those of another machine cannot be seen."""
        if row.get("host") == socket.gethostname() and sys.platform == "linux":
            for name in names:
                self.until(lambda name=name: _gone(int(row[name])), f"its process ({name}) is gone")  # type: ignore[misc] # mypy cannot type a lambda's default


def _gone(pid: int) -> bool:
    try:
        gone = "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    time.sleep(0.02)
    return gone
