"""``nemesyst wrangle | learn | infer | run [SCRIPT...]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.command import Session, command
from nemesyst.cli.outcomes import report_of, tell_failures
from nemesyst.cli.watch import watch
from nemesyst.errors import SettingsError
from nemesyst.run import (
    Kept,
    Planner,
    Task,
    check_arguments_of,
    executor_named,
    run_rounds,
    tasks_of,
    tasks_of_kinds,
    tasks_of_tables,
)
from nemesyst.settings import settings_file
from nemesyst.stages import Learner, check_known, load_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.run import Kind
    from nemesyst.settings import Settings

Scripts = Annotated[
    list[Path] | None,
    typer.Argument(help="Python files with stages; none: the [[jobs]] of nemesyst.toml.", show_default=False),
]
ExecutorName = Annotated[
    str | None, typer.Option("--executor", help="Where jobs run: local (processes) or ray (a cluster).")
]
Processes = Annotated[int | None, typer.Option(help="Jobs side by side; default: the number of cores.", min=1)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints of unfinished runs.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="The first failure stops the other jobs.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds that a job may take.", min=0.001)]
Retries = Annotated[
    int | None, typer.Option(help="How often a job is begun again when the database was away or it was killed.", min=0)
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Argument of a function: NAME=VALUE, or FUNCTION.NAME=VALUE.", metavar="NAME=VALUE"),
]


@dataclass(frozen=True)
class _Asked:
    """What the command line says of all jobs; None where it says nothing."""

    kinds: Sequence[Kind]
    executor: str | None
    processes: int | None
    resume: bool
    fail_fast: bool
    timeout: float | None
    retries: int | None
    args: Sequence[str]


def register(app: typer.Typer) -> None:
    """Add the four commands."""
    kinds: dict[str, tuple[tuple[Kind, ...], str]] = {
        "wrangle": (("wrangle",), "Run the wranglers of scripts: put data into the database."),
        "learn": (("learn",), "Run the learners of scripts: train models and store them."),
        "infer": (("infer",), "Run the predictors of scripts: store what models predict."),
        "run": (("wrangle", "learn", "infer"), "Run all stages of scripts: wrangle, then learn, then infer."),
    }
    for name, (stages, about) in kinds.items():
        _register(app, name, stages, about)


def _register(app: typer.Typer, name: str, kinds: Sequence[Kind], about: str) -> None:
    def run(  # noqa: PLR0913, PLR0917 - each is an option
        session: Session,
        scripts: Scripts = None,
        executor: ExecutorName = None,
        processes: Processes = None,
        resume: Resume = False,
        fail_fast: FailFast = False,
        timeout: Timeout = None,
        retries: Retries = None,
        arg: Arguments = None,
    ) -> None:
        _run(session, scripts or [], _Asked(kinds, executor, processes, resume, fail_fast, timeout, retries, arg or []))

    run.__doc__ = about
    command(app, name)(run)


def _run(session: Session, paths: Sequence[Path], asked: _Asked) -> None:
    settings, given = session.settings, dict(_argument(text) for text in asked.args)
    every = _tasks(settings, paths)
    tasks = [_asked_of(task, settings, asked, given) for task in tasks_of_kinds(every, asked.kinds)]
    check_known(list(given), [task.stage.function for task in every])
    values = nested(settings.args, given)
    for task in tasks:  # before any process: a wrong argument is found now
        check_arguments_of(task, values)
    name = asked.executor or settings.executor
    with session.connect() as hub:  # held meanwhile, so that an embedded server stays up between the jobs
        described = settings.reveal() | {"database": hub.db.name, "state": hub.state.name, "args": values}
        executor = executor_named(name, described, asked.processes or settings.processes)
        with executor, watch(session) as seen, Kept(seen, hub, name) as watcher:
            jobs = [task.job for task in tasks]
            planner = Planner(hub, tasks)
            reports = run_rounds(jobs, executor, watcher, expander=planner, fail_fast=asked.fail_fast)
    if session.json:
        session.result([report_of(report) for report in reports], "")
    if any(report.error for report in reports):
        tell_failures(reports, planner.jobs)
        raise SystemExit(1)


def _tasks(settings: Settings, paths: Sequence[Path]) -> list[Task]:
    if paths:
        return tasks_of([load_script(path) for path in paths])
    if not settings.jobs:
        raise SettingsError(
            f"no script is named, and {settings_file()} has no [[jobs]]",
            "Name a Python file with stages: nemesyst run train.py",
        )
    return tasks_of_tables(settings.jobs, settings_file())


def _asked_of(task: Task, settings: Settings, asked: _Asked, given: Mapping[str, Any]) -> Task:
    """A task with what the command line and the settings say of all jobs; the command line goes before its table."""
    job, grid = task.job, task.stage.grid if isinstance(task.stage, Learner) else None
    over = {name for argument in given for name in [_meant(argument, job.name)] if name is not None}
    for name in over & set(grid or {}):
        raise SettingsError(
            f"--arg {name}: {job.name} has a grid over it",
            f"Leave it out; for another function write --arg FUNCTION.{name}=VALUE.",
        )
    timeout = asked.timeout or job.timeout or settings.job_timeout
    retries = asked.retries if asked.retries is not None else job.retries or settings.retries
    args = {name: value for name, value in job.args.items() if name not in over}
    return task.having(timeout=timeout, retries=retries, resume=asked.resume, args=args)


def _meant(argument: str, function: str) -> str | None:
    """The name of a function's argument that a ``--arg`` is about; None: it is about another function's."""
    first, dot, rest = argument.partition(".")
    return first if not dot else rest if first == function else None


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--arg {text}: expected NAME=VALUE", "Such as --arg epochs=4 or --arg learn.epochs=4.")
    return name, value


def nested(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the settings with those of the command line: ``learn.epochs=4`` under the function's name.

    Either kind goes before what the settings say.
    """
    merged = dict(settings)
    for name, value in given.items():
        function, dot, argument = name.partition(".")
        if dot:
            old = merged.get(function)
            merged[function] = {**(old if isinstance(old, dict) else {}), argument: value}
        else:
            merged[name] = value
            for inner in [key for key, table in merged.items() if isinstance(table, dict) and name in table]:
                merged[inner] = {
                    key: kept for key, kept in merged[inner].items() if key != name or f"{inner}.{key}" in given
                }
    return merged
