"""Running jobs: rounds of stages, each job in a process of its own."""

from nemesyst.run.executors import executor_named
from nemesyst.run.jobs import Executor, Job, JobReport, Kind, Watcher
from nemesyst.run.local.executor import LocalExecutor
from nemesyst.run.outputs import Kept
from nemesyst.run.planning import Planner, Task, check_arguments_of, tasks_of, tasks_of_kinds
from nemesyst.run.recording import recorded
from nemesyst.run.records import STATUSES, RunRecord, Runs, Series, Told, Work, catch_up
from nemesyst.run.rounds import jobs_of, run_rounds
from nemesyst.run.tables import tasks_of_tables

__all__ = [
    "STATUSES",
    "Executor",
    "Job",
    "JobReport",
    "Kept",
    "Kind",
    "LocalExecutor",
    "Planner",
    "RunRecord",
    "Runs",
    "Series",
    "Task",
    "Told",
    "Watcher",
    "Work",
    "catch_up",
    "check_arguments_of",
    "executor_named",
    "jobs_of",
    "recorded",
    "run_rounds",
    "tasks_of",
    "tasks_of_kinds",
    "tasks_of_tables",
]
