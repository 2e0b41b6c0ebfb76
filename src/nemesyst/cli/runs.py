"""``nemesyst runs``: list, show, tail, stop, export."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.charts import charts, thinned
from nemesyst.cli.command import Session, command, is_terminal
from nemesyst.cli.table import shown, size_of, table
from nemesyst.errors import SettingsError
from nemesyst.run import catch_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.hub import Hub
    from nemesyst.run import RunRecord, Series

app = typer.Typer(help="Runs of jobs: how they go, what they logged and printed.", no_args_is_help=True)

Id = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="Its id, or how it begins; default: the newest.", show_default=False),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Their ids; default: the newest run.")]

_POINTS = 500
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_VALUES = 3


@command(app, "list")
def list_runs(
    session: Session,
    *,
    status: Annotated[str | None, typer.Option(help="Only running, done, failed, stopped or lost ones.")] = None,
    function: Annotated[str | None, typer.Option(help="Only those of this function.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
    entity: Annotated[str | None, typer.Option(help="Only those for this device or site.")] = None,
    script: Annotated[str | None, typer.Option(help="Only those of this file.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only the last 30min, 12h, 7d; or those since a time (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest; 0: all.", min=0)] = 50,
) -> None:
    """List runs, the newest first."""
    asked = {"status": status, "function": function, "model": model, "entity": entity, "script": script}
    with session.connect(create=False) as hub:
        catch_up(hub)
        records = hub.runs.list(**asked, since=None if since is None else _since(since), limit=limit or None)
    heads = ("run", "status", "job", "model", "started (UTC)", "time", "step", "values")
    rows = [tuple(map(shown, _line(record))) for record in records]
    more = f"\nthe newest {limit:,} runs; --limit 0 lists all" if len(records) == limit else ""
    text = (
        table(heads, rows) + more if rows else "there are no such runs" if any(asked.values()) else "there are no runs"
    )
    session.result([record.as_dict() for record in records], text)


@command(app, "show")
def show(
    session: Session,
    run: Id = None,
    picture: Annotated[Path | None, typer.Option(help="Save the curves, too: FILE.png or FILE.svg.")] = None,
) -> None:
    """Show what is recorded of a run, and draw what it logged."""
    with session.connect(create=False) as hub:
        catch_up(hub)
        record = hub.runs.get(_id(hub, run))
        curves = hub.runs.curves(record.id)
    if picture is not None:
        from nemesyst.cli.runs_picture import save_picture

        save_picture(picture, record, curves)
    rows = [(name, shown(str(value))) for name, value in _facts(record).items() if value not in (None, "")]
    colours = is_terminal(sys.stdout) and "NO_COLOR" not in os.environ
    width = min(shutil.get_terminal_size().columns, 100)
    drawn = charts({shown(name): series for name, series in curves.items()}, width, colours=colours)
    value = {**record.as_dict(), "curves": {name: _json_of(series) for name, series in curves.items()}}
    session.result(value, "\n\n".join(text for text in (table(("", ""), rows), drawn) if text))


@command(app, "tail")
def tail(
    session: Session,
    run: Id = None,
    lines: Annotated[int, typer.Option(help="Begin with the last so many lines.", min=0)] = 20,
) -> None:
    """Follow what a run prints and logs, until it ends."""
    with session.connect(create=False) as hub:
        catch_up(hub)
        found = _id(hub, run)
        for told in hub.runs.tail(found, lines=lines):
            if session.json:
                print(
                    json.dumps({name: value for name, value in vars(told).items() if value not in (None, {})}),
                    flush=True,
                )
            elif told.output is not None:
                session.say(shown(told.output))
            else:
                session.say(shown(f"step {told.step}  {_values(told.values)}"))
        record = hub.runs.get(found)
    if not session.json:
        session.say(f"run {record.id}: {record.status}{_why(record)}")


@command(app, "stop")
def stop(session: Session, runs: Annotated[list[str], typer.Argument(metavar="ID...", help="Their ids.")]) -> None:
    """Ask runs to end, as Ctrl-C does, on whatever node they are."""
    with session.connect(create=False) as hub:
        found = [hub.runs.stop(run) for run in runs]
    lines = [
        f"run {record.id} is over already: {record.status}" if record.over else f"run {record.id}: asked to stop"
        for record in found
    ]
    session.result([{"run": record.id, "asked": not record.over, "status": record.status} for record in found],
                   "\n".join(lines))  # fmt: skip


@command(app, "export")
def export(
    session: Session,
    runs: Ids = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard, one run in each of its folders.")
    ] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="MLflow's tracking server, or a folder.")] = None,
) -> None:
    """Give runs to TensorBoard or MLflow: arguments, curves with steps and times, how they ended."""
    from nemesyst.cli.runs_export import to_mlflow, to_tensorboard

    if tensorboard is None and mlflow is None:
        raise SettingsError("runs export: nowhere to export to", "Give --tensorboard DIR, or --mlflow URI.")
    told = []
    with session.connect(create=False) as hub:
        catch_up(hub)
        for run in runs or [_id(hub, None)]:
            record = hub.runs.get(run)
            made: dict[str, Any] = {"run": record.id}
            if tensorboard is not None:
                made["tensorboard"] = str(to_tensorboard(tensorboard, record, hub.runs.points(record.id)))
            if mlflow is not None:
                made["mlflow"] = to_mlflow(mlflow, record, hub.runs.points(record.id))
            told.append(made)
    lines = [
        f"run {each.pop('run')}: " + ", ".join(f"{to} {what}" for to, what in each.items()) for each in map(dict, told)
    ]
    session.result(told, "\n".join(lines))


def _id(hub: Hub, given: str | None) -> str:
    if given is not None:
        return given
    newest = hub.runs.list(limit=1)
    if not newest:
        raise SettingsError("there are no runs yet", "Run a script: nemesyst run SCRIPT.")
    return str(newest[0].id)


def _since(text: str) -> datetime | timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h|d|w)", text.strip())
    try:
        if found is not None:
            return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--since {text}: this is neither a length of time nor a time", "Such as 30min, 12h, 7d, 2026-05-01T12:00."
        ) from None


def _line(record: RunRecord) -> tuple[str, ...]:
    return (
        record.id,
        record.status,
        _job(record),
        record.work.model or "",
        "" if record.started is None else f"{record.started:%Y-%m-%d %H:%M:%S}",
        _time(record),
        "" if record.step is None else f"{record.step:,}",
        _values(dict(sorted(record.values.items())[:_VALUES])),
    )


def _job(record: RunRecord) -> str:
    work = record.work
    name = work.function if work.function == work.stage else f"{work.stage} {work.function}"
    entity = "" if work.entity is None or f"[{work.entity}]" in work.label else f"[{work.entity}]"
    return " ".join(part for part in (name + entity, work.label) if part)


def _time(record: RunRecord) -> str:
    if record.seconds is not None:
        return f"{record.seconds:,.1f} s"
    if record.status != "running" or record.started is None:
        return ""
    return f"{(datetime.now(UTC) - record.started).total_seconds():,.0f} s so far"


def _values(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _why(record: RunRecord) -> str:
    return f": {shown(str(record.error['message']))}" if record.error else ""


def _facts(record: RunRecord) -> dict[str, Any]:
    error = record.error or {}
    return {
        "run": record.id,
        "status": record.status,
        "job": _job(record),
        "script": record.work.script,
        "model": record.work.model,
        "entity": record.work.entity,
        "arguments": "\n".join(f"{name}: {value}" for name, value in record.work.args.items()),
        "versions": "\n".join(record.versions),
        "did": record.summary,
        "error": "\n".join(str(each) for each in (error.get("message"), error.get("remedy")) if each),
        "line": error.get("where"),
        "started (UTC)": None if record.started is None else f"{record.started:%Y-%m-%d %H:%M:%S}",
        "heard of (UTC)": None if record.over or record.heartbeat is None else f"{record.heartbeat:%Y-%m-%d %H:%M:%S}",
        "time": _time(record),
        "rows": f"{record.rows:,}" if record.rows else None,
        "epoch": None if record.epoch is None else f"{record.epoch[0]} of {record.epoch[1]}",
        "step": None if record.step is None else f"{record.step:,}",
        "memory": None if record.memory is None else size_of(record.memory),
        "process": f"{record.process.pid} on {record.process.node}",
        "workers": record.work.workers if record.work.workers > 1 else None,
        "attempts": record.attempts if record.attempts > 1 else None,
        "executor": record.executor,
        "command": record.command,
    }


def _json_of(series: Series) -> list[list[float]]:
    """A curve for JSON: ``[first step, mean, least, largest]`` of at most 500 stretches."""
    thin = thinned(series, _POINTS)
    return [list(map(float, point)) for point in zip(*thin, strict=True)]
