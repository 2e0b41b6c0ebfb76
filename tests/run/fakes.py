"""A small executor without processes, to try a round's policies at its seam."""

from __future__ import annotations

import time

from nemesyst.errors import JobError
from nemesyst.run import Executor, JobReport
from nemesyst.stages import Outcome


class Scripted(Executor):
    """Each job does what its name's list says, attempt by attempt: ``"done"``, ``"fails"``, ``"away"``, ``"hangs"``, ``"deaf"``."""

    def __init__(self, does, room=2):
        self.tells = {}
        """Runs that jobs tell of, by the name: attempt by attempt; empty: none."""
        self.does, self.room = {name: list(acts) for name, acts in does.items()}, room
        self.running, self.launched, self.told = {}, [], []
        self.together = 0

    def fits(self, job, running):
        if job.workers > self.room:
            raise JobError(f"{job} asks for {job.workers} processes, and there are {self.room}")
        return sum(each.workers for each in running) + job.workers <= self.room

    def launch(self, job, watcher):
        self.launched.append(job)
        self.running[job] = self.does[job.name].pop(0)
        if told := self.tells.get(job.name) and self.tells[job.name].pop(0):
            watcher.progress(job, {"run": told, "attempt": 1})
        self.together = max(self.together, len(self.running))

    def wait(self, seconds):
        ended = [self._report(job, act) for job, act in self.running.items() if act not in ("hangs", "deaf")]
        for report in ended:
            del self.running[report.job]
        if not ended:
            assert seconds is not None, "waits for ever"
            time.sleep(min(seconds, 0.02))
        return ended[:]

    def _report(self, job, act):
        if act == "done":
            return JobReport(job, Outcome(job.kind, job.name, "done"), seconds=0.1, memory=1 << 20)
        message = f"job.py:7 in {job.name}: {'interrupted' if act == 'interrupted' else act}"
        return JobReport(job, error=JobError(message), transient=act == "away")

    def interrupt(self, job):
        self.told.append(("interrupt", job.name))
        if self.running[job] == "hangs":
            self.running[job] = "interrupted"

    def kill(self, job):
        self.told.append(("kill", job.name))
        self.running[job] = "killed"

    def close(self):
        self.running.clear()
