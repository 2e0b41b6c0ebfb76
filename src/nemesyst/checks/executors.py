"""The conformance suite of executors."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nemesyst.checks.case import CheckError, require
from nemesyst.checks.jobs import SCRIPT, TOGETHER, Trial
from nemesyst.errors import JobError
from nemesyst.stages import Changes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from nemesyst.hub import Hub
    from nemesyst.run import Executor, JobReport


def check_executor(
    make: Callable[[Mapping[str, Any], int], Executor],
    hub: Hub,
    *,
    together: bool = True,
    patience: float = 240.0,
) -> list[str]:
    """Run every check of the contract of :class:`nemesyst.run.Executor` over an executor, with real scripts.

    Args:
        make: Makes the executor that is checked, of settings (secrets revealed) and a number of processes; it is
            called once, with 4, and what it gives is closed at the end.
        hub: A hub with two databases for these checks alone; they are filled.
        together: Whether it runs jobs whose workers train one model; checked where PyTorch is installed.
        patience: How long anything may take, in s; only what fails takes as long.

    Returns:
        The names of the checks that were made.

    Raises:
        CheckError: A check failed; names it.
    """
    settings = hub.settings.reveal() | {"database": hub.db.name, "state": hub.state.name}
    together = together and find_spec("torch") is not None
    done = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "jobs.py").write_text(SCRIPT)
        (Path(folder) / "together.py").write_text(TOGETHER)
        with make(settings, 4) as executor:
            trial = Trial(executor, hub, Path(folder), patience, together)
            for check in _CHECKS:
                name = check.__name__.replace("_", " ")
                try:
                    check(trial)
                except CheckError as error:
                    raise CheckError(f"executor {type(executor).__name__}: {name}: {error}") from error
                except Exception as error:
                    raise CheckError(
                        f"executor {type(executor).__name__}: {name}: raised {type(error).__name__}: {error}"
                    ) from error
                done.append(name)
    return done


def fits_what_there_is_room_for(trial: Trial) -> None:
    """One job always, no more than ``processes``, and never what is more than all there is."""
    executor, job = trial.executor, trial.job("meets")
    require(executor.fits(job, []), "a job does not fit beside none")
    others = [trial.job("meets", str(number)) for number in range(1000)]
    require(executor.fits(job, others[:3]), "a fourth job does not fit, and there are 4 processes")
    require(not executor.fits(job, others), "a job fits beside 1000 others")
    try:
        executor.fits(trial.job("meets", workers=1_000_000), [])
    except JobError as error:
        require(error.remedy, "the error says nothing about what to do")
    else:
        raise CheckError("a job of a million workers does not raise JobError")


def runs_jobs_side_by_side(trial: Trial) -> None:
    """Each in a process of its own; each waits until the other has come."""
    left, right = (trial.job("meets", me, args={"me": me, "other": other}) for me, other in (("a", "b"), ("b", "a")))
    for report in trial.run(left, right):
        _succeeded(report)
    rows = list(trial.hub.db["meetings"].find({"pid": {"$exists": True}}))
    require(len({(row["host"], row["pid"]) for row in rows}) == 2, "two jobs share a process")


def reports_what_became_of_a_job(trial: Trial) -> None:
    """Its outcome, time, memory, and the id of its run's record."""
    (report,) = trial.run(trial.job("brings"))
    _succeeded(report)
    require(report.outcome is not None and report.outcome.kind == "wrangle", f"the outcome is {report.outcome}")
    require(report.seconds > 0, f"it took {report.seconds} s")
    require(report.memory is not None and report.memory > 1 << 20, f"its memory is {report.memory} bytes")
    require(not report.transient and not report.stopped, "it succeeded, and is transient or stopped")
    record = trial.hub.state["runs"].find_one({"_id": report.run})
    require(record is not None and record["status"] == "done", f"the run {report.run!r} has the record {record}")


def hands_over_entity_arguments_and_changes(trial: Trial) -> None:
    """As they were, with their types."""
    when = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)
    entity = {"site": 12, "since": when}
    job = trial.job("brings", entity=entity, args={"count": 3, "word": "a\nb€"}, changes=Changes(into="elsewhere"))
    _succeeded(trial.run(job)[0])
    row = dict(trial.hub.db["elsewhere"].find_one() or {})
    require(row.get("count") == 3 and row.get("kind") == "int", f"count=3 came as {row.get('count')!r}")
    require(row.get("word") == "a\nb€", f"a text came as {row.get('word')!r}")
    found = dict(row.get("entity") or {})
    require(found.get("site") == 12, f"the entity came as {found}")
    since = found["since"].replace(tzinfo=UTC)
    require(since == when, f"the entity's time {when} came as {since}")


def passes_on_what_it_tells_in_order(trial: Trial) -> None:
    """Lines of both streams, progress, and nothing of it after the report."""
    job = trial.job("talks", args={"lines": 500})
    _succeeded(trial.run(job)[0])
    lines = trial.notes.lines.get(job, [])
    numbered = [line for line in lines if line.startswith("line ")]
    require(
        numbered == [f"line {number}" for number in range(500)], f"500 lines came as {len(numbered)}, or disordered"
    )
    require("complaint" in lines, "a line of the standard error stream is missing")
    events = trial.notes.events.get(job, [])
    require({"values": {"loss": 0.25}, "step": 7} in events, f"what run.log was given is not in {events[-3:]}")
    rows = [event["rows"] for event in events if "rows" in event]
    require(rows and rows[-1] >= 500, f"500 rows were told as {rows[-1:]}")
    require(all(one <= other for one, other in pairwise(rows)), "the number of rows goes back")
    require(any("run" in event for event in events), "the id of the run was not told")


def tells_a_failure_with_its_line(trial: Trial) -> None:
    """And errors of ours as what they are."""
    broken, offended = trial.run(trial.job("breaks"), trial.job("offends"))
    line = SCRIPT.splitlines().index('    raise ValueError("broken sensor")') + 1
    require(isinstance(broken.error, JobError), f"the error is {broken.error!r}")
    text = str(broken.error)
    require(f"jobs.py:{line} in breaks: ValueError: broken sensor" in text, f"the error says {text}")
    require(not broken.transient and broken.outcome is None, "a wrong function is transient, or has an outcome")
    require(type(offended.error).__name__ != "JobError" and offended.error.remedy, f"it came as {offended.error!r}")  # type: ignore[union-attr] # it failed


def tells_a_script_that_is_not_there(trial: Trial) -> None:
    """As a failure of the job."""
    (report,) = trial.run(replace(trial.job("brings"), script=trial.folder / "nowhere.py"))
    require(report.error is not None and "nowhere.py" in str(report.error), f"the error is {report.error!r}")


def keeps_the_others_from_harm(trial: Trial) -> None:
    """A failing, a killed and a succeeding job, side by side."""
    good, bad, dead = trial.run(trial.job("talks", args={"lines": 3}), trial.job("breaks"), trial.job("dies"))
    _succeeded(good)
    require(bad.error is not None and not bad.transient, f"the failing job's report is {bad}")
    require(dead.error is not None, "a killed job has no error")
    require(dead.transient, f"a killed job may succeed later, but is not transient: {dead.error}")
    require("so far" in str(dead.error), f"the error does not say what it said last: {dead.error}")


def goes_on_with_the_same_run(trial: Trial) -> None:
    """A job that is begun again with ``resume`` finds the run that was killed."""
    trial.hub.db["deaths"].delete_many({})
    job = trial.job("dies", "once", args={"times": 1})
    (killed,) = trial.run(job)
    require(killed.error is not None and killed.run, f"the killed attempt's report is {killed}")
    (again,) = trial.run(replace(job, resume=True))
    _succeeded(again)
    require(again.run == killed.run, f"it went on as the run {again.run}, and was {killed.run}")


def interrupts_as_ctrl_c_does(trial: Trial) -> None:
    """The function can tidy up; the report says where it was."""
    job = trial.job("hangs")
    trial.launch(job)
    row = trial.ready(job)
    trial.executor.interrupt(job)
    report = trial.end()[job]
    require(report.error is not None and "interrupted" in str(report.error), f"the error is {report.error!r}")
    require("jobs.py:" in str(report.error), f"the error does not say where it was: {report.error}")
    require(not report.transient, "it is transient, and was meant")
    require(trial.hub.db["tidied"].find_one({"pid": row["pid"]}) is not None, "its finally did not run")
    trial.gone(row, "pid", "child")


def kills_at_once(trial: Trial) -> None:
    """Also what hears no signals, with the processes that it has started."""
    job = trial.job("hangs", "deaf", args={"deaf": True})
    trial.launch(job)
    row = trial.ready(job)
    trial.executor.kill(job)
    report = trial.end()[job]
    require(report.error is not None, "a killed job has no error")
    trial.gone(row, "pid", "child")


def trains_together(trial: Trial) -> None:
    """Two workers share the rows, agree on the weights, and store one version; after a kill they go on."""
    if not trial.together:
        return
    trial.hub.put("shared", [{"i": float(number), "y": number / 64} for number in range(64)])
    job = trial.job("together", workers=2, args={"deadly": True})
    (killed,) = trial.run(job)
    require(killed.error is not None, "a worker was killed, and the job has no error")
    require(killed.transient, f"a worker was killed, and the job is not transient: {killed.error}")
    (report,) = trial.run(replace(job, resume=True))
    _succeeded(report)
    require(report.run == killed.run, f"it went on as the run {report.run}, and was {killed.run}")
    agreed = list(trial.hub.db["agreed"].find())
    require(sorted(row["rank"] for row in agreed) == [0, 1], f"the ranks were {[row['rank'] for row in agreed]}")
    require(all(row["mean"] == 0.5 for row in agreed), "run.mean is not the mean over both")
    require(all(len(set(row["weights"])) == 1 for row in agreed), "the weights of the ranks differ")
    require(len(trial.hub.models.list("together")) == 1, "there is not one version")
    _each_row_once(trial)


def _each_row_once(trial: Trial) -> None:
    """In each epoch; what was made of batches after the checkpoint is gone with the first attempt."""
    seen = list(trial.hub.db["seen"].find())
    begun = max(row["begun"] for row in seen)
    require(begun > 0, "it began anew, and there was a checkpoint")
    kept = [row for row in seen if row["begun"] == begun or row["step"] <= begun]
    for epoch in range(2):
        rows = Counter(row["row"] for row in kept if row["epoch"] == epoch)
        require(rows == dict.fromkeys(range(64), 1), f"epoch {epoch}: rows were lost or came twice: {rows}")


def leaves_nothing_behind(trial: Trial) -> None:
    """``close`` ends what still runs."""
    job = trial.job("hangs", "left", args={"deaf": True})
    trial.launch(job)
    row = trial.ready(job)
    trial.executor.close()
    trial.running.clear()
    trial.gone(row, "pid")


def _succeeded(report: JobReport) -> None:
    require(report.error is None, f"{report.job} failed: {report.error}")
    require(report.outcome is not None, f"{report.job} has neither an outcome nor an error")


_CHECKS: list[Callable[[Trial], None]] = [
    fits_what_there_is_room_for,
    runs_jobs_side_by_side,
    reports_what_became_of_a_job,
    hands_over_entity_arguments_and_changes,
    passes_on_what_it_tells_in_order,
    tells_a_failure_with_its_line,
    tells_a_script_that_is_not_there,
    keeps_the_others_from_harm,
    goes_on_with_the_same_run,
    interrupts_as_ctrl_c_does,
    kills_at_once,
    trains_together,
    leaves_nothing_behind,
]
