"""``nemesyst wrangle | learn | infer | run SCRIPT...``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.command import Session, command
from nemesyst.cli.watch import watch
from nemesyst.errors import SettingsError
from nemesyst.run import JobReport, LocalExecutor, jobs_of, run_rounds
from nemesyst.stages import arguments_of, check_known, load_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.run import Kind

Scripts = Annotated[list[Path], typer.Argument(help="Python files with stages.", show_default=False)]
Processes = Annotated[int | None, typer.Option(help="Jobs side by side; default: the number of cores.", min=1)]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Argument of a function: NAME=VALUE, or FUNCTION.NAME=VALUE.", metavar="NAME=VALUE"),
]


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
    def run(session: Session, scripts: Scripts, processes: Processes = None, arg: Arguments = None) -> None:
        _run(session, scripts, kinds, processes, arg or [])

    run.__doc__ = about
    command(app, name)(run)


def _run(
    session: Session, paths: Sequence[Path], kinds: Sequence[Kind], processes: int | None, arguments: Sequence[str]
) -> None:
    given = dict(_argument(text) for text in arguments)
    scripts = [load_script(path) for path in paths]
    jobs = jobs_of(scripts, kinds)
    check_known(list(given), [stage.function for script in scripts for stage in script.stages])
    settings = session.settings
    values = _nested(settings.args, given)
    for job in jobs:  # before any process: a wrong argument is found now
        arguments_of(next(script for script in scripts if script.path == job.script).stage(job.name), values)
    with session.connect() as hub:  # held meanwhile, so that an embedded server stays up between the jobs
        described = settings.reveal() | {"database": hub.db.name, "state": hub.state.name, "args": values}
        executor = LocalExecutor(described, processes or settings.processes)
        with watch(session) as watcher:
            reports = run_rounds(jobs, executor, watcher)
    failed = [report for report in reports if report.error]
    if session.json:
        session.result([_report(report) for report in reports], "")
    if failed:
        left = len(jobs) - len(reports)
        note = f"; {left} not started" if left else ""
        print(f"error: {len(failed)} of {len(jobs)} jobs failed{note}", file=sys.stderr)
        raise SystemExit(1)


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--arg {text}: expected NAME=VALUE", "Such as --arg epochs=4 or --arg learn.epochs=4.")
    return name, value


def _nested(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    # learn.epochs=4 stands under the function's name; either kind goes before what the settings say.
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


def _report(report: JobReport) -> dict[str, Any]:
    job = {"job": report.job.name, "stage": report.job.kind, "script": str(report.job.script)}
    if report.error is not None:
        return {**job, "error": type(report.error).__name__, "message": report.error.message}
    return json.loads(json.dumps({**job, **asdict(report.outcome)}, default=str)) if report.outcome else job
