"""What the process of a job does, whoever started it: ``python -m nemesyst.run.worker FD`` for one by itself.

The job comes as JSON on standard input (see :func:`nemesyst.run.describing.describe`). Messages go to the file
descriptor FD, one JSON value a line: those of :class:`nemesyst.run.wire.Wire`, ``run`` (id of its record), ``note`` (a
line for people), and at the end ``done`` or ``failed``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from nemesyst.database import is_transient, leave_at_once
from nemesyst.errors import JobError, NemesystError
from nemesyst.hub import connect_settings
from nemesyst.run.describing import job_of
from nemesyst.run.recording import recorded
from nemesyst.run.records import Work
from nemesyst.run.signals import INTERRUPTED, end_with_parent, take_signals
from nemesyst.run.wire import Wire, to_descriptor
from nemesyst.settings import load_settings
from nemesyst.stages import Alone, JobContext, arguments_of, load_script, script_line, work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nemesyst.run.jobs import Job
    from nemesyst.stages import Group, Outcome, Stage

    Send = Callable[[Mapping[str, Any]], None]


def run_described(description: Mapping[str, Any], send: Send, join: Callable[[], Group] | None = None) -> int:
    """Do a job to its end, and tell how it went; nothing that the function raises gets out.

    Args:
        description: The job, as described.
        send: Takes the messages.
        join: Joins the workers that train together, before the script is loaded; None: the job has one.

    Returns:
        The exit code for its process.
    """
    job = job_of(description)
    wire = Wire(send)
    try:
        outcome = _run(job, description, wire, join)
        wire.flush()
        send({"done": asdict(outcome)})
    except KeyboardInterrupt as end:  # whoever asked for it says why; here is known where it was
        where = script_line(end.__traceback__, job.script)
        told = {"kind": JobError.__name__, "message": f"{where}: interrupted", "remedy": None}
        send({"failed": {**told, "where": where, "transient": False, "interrupted": True}})
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the function is the user's: anything may come out of it
        send({"failed": failure(error, job.script)})
        return 1
    return 0


def _run(job: Job, description: Mapping[str, Any], wire: Wire, join: Callable[[], Group] | None) -> Outcome:
    group = Alone() if join is None else join()  # first: JAX must be told before the script uses it
    loaded = load_settings(description["settings"])
    stage = load_script(job.script).stage(job.name)
    arguments = _arguments(job, loaded.args)
    with connect_settings(loaded) as hub:
        script = str(description.get("origin") or job.script.resolve())  # a copy of it is known by what it is a copy of
        record, told = _record_of(job, script, stage, arguments), partial(failure, script=job.script)
        with recorded(
            hub, record, group, resume=job.resume, continues=job.continues, send=wire.send, failure=told
        ) as recorder:
            progress = recorder.watching(wire)
            context = JobContext(job.script, job.entity, job.changes, progress, group, recorder)
            outcome = work(hub, stage, arguments, context)
            recorder.done(outcome)
    return outcome


def _record_of(job: Job, script: str, stage: Stage, arguments: Mapping[str, Any]) -> Work:
    """What the record of a job's run says of it."""
    return Work(
        script,
        stage.name,
        stage.kind,
        job.changes.model or getattr(stage, "model", None),
        job.entity,
        arguments_of(stage, arguments),
        job.label,
        job.workers,
    )


def _arguments(job: Job, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The job's own come first, also before those that the settings have under the function's name."""
    under = settings.get(job.name)
    return {**settings, job.name: {**(under if isinstance(under, dict) else {}), **job.args}}


def failure(error: BaseException, script: Path) -> dict[str, Any]:
    """An error as JSON values: kind, message and remedy, the line of the script, whether it passes by itself."""
    where = script_line(error.__traceback__, script)
    transient = is_transient(error)
    if isinstance(error, NemesystError):
        told = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
    else:
        message = f"{where}: {type(error).__name__}: {_text(error)}"
        told = {"kind": JobError.__name__, "message": message, "remedy": _source(error, script)}
    return {**told, "where": where, "transient": transient}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is the user's class
        return "(its text cannot be made)"


def _source(error: BaseException, path: Path) -> str | None:
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"The line is: {frames[-1].line}" if frames else None


def begin(description: Mapping[str, Any], send: Send) -> int:
    """Do a job in this process, or in as many as it asks for; the exit code."""
    try:
        take_signals()
        leave_at_once()
        if description["workers"] == 1:
            return run_described(description, send)
        from nemesyst.run.parallel import launch_workers

        return launch_workers(description, send)
    except KeyboardInterrupt:  # before the work had begun, or after its end
        return INTERRUPTED


def main() -> int:
    """Do the job that standard input describes."""
    end_with_parent()
    send = to_descriptor(int(sys.argv[1]))
    return begin(json.load(sys.stdin), send)


if __name__ == "__main__":
    sys.exit(main())
