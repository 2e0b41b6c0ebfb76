"""Running jobs: rounds of stages, each job in a process of its own."""

from nemesyst.run.jobs import Executor, Job, JobReport, Kind, Watcher
from nemesyst.run.local import LocalExecutor
from nemesyst.run.rounds import jobs_of, run_rounds

__all__ = ["Executor", "Job", "JobReport", "Kind", "LocalExecutor", "Watcher", "jobs_of", "run_rounds"]
