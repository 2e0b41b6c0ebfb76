"""Records of runs: what they say, how they are found, when a run counts as lost, how it is stopped and adopted."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nemesyst.errors import JobError, SettingsError
from nemesyst.run.records import new_id
from nemesyst.run.records.processes import Process
from nemesyst.run.records.starting import adopt, begin
from nemesyst.stages import Outcome

from .records import finished, running, work

pytestmark = pytest.mark.core


def as_of(hub, run, process, **fields):
    """Give a run another process, and other fields."""
    changes = {**vars(process), **fields}
    hub.state["runs"].update_one({"_id": run}, {"$set": changes})


@pytest.fixture
def dead():
    """A process of this node that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(Process.here(), pid=child.pid)


def test_ids_sort_as_they_were_made():
    ids = [new_id() for _ in range(500)]
    assert len(set(ids)) == 500
    assert [each[:9] for each in ids] == sorted(each[:9] for each in ids)


def test_a_record_says_what_was_done_where_and_how_it_went(hub):
    args = {"hidden": 64, "names": ("a", "b"), "huge": 2**70}
    with running(hub, entity=12, args=args, label="[12]", workers=2) as recorder:
        recorder.log({"loss": 0.5}, 7)
        recorder.done(Outcome("learn", "learn", "saved air[12]@1", {"versions": [{"ref": "air[12]@1"}]}))
    found = hub.runs.get(recorder.run)
    assert (found.status, found.attempts, found.step, dict(found.values)) == ("done", 1, 7, {"loss": 0.5})
    assert (found.work.entity, found.work.workers, found.versions) == (12, 2, ("air[12]@1",))
    assert found.work.args == {"hidden": 64, "names": ["a", "b"], "huge": str(2**70)}
    assert found.process == Process.here()
    assert found.memory > 10_000_000
    assert found.started <= found.ended <= datetime.now(UTC) + timedelta(seconds=5)
    assert found.seconds >= 0


def test_an_error_is_recorded_with_its_remedy(hub):
    with pytest.raises(JobError), running(hub) as recorder:
        raise JobError("the sensor is broken", "Replace it.")
    found = hub.runs.get(recorder.run)
    assert found.status == "failed"
    assert found.error == {"kind": "JobError", "message": "the sensor is broken", "remedy": "Replace it."}


def test_an_interrupted_run_has_stopped(hub):
    with pytest.raises(KeyboardInterrupt), running(hub) as recorder:
        raise KeyboardInterrupt
    assert hub.runs.get(recorder.run).status == "stopped"


def test_runs_are_listed_the_newest_first_by_what_they_are(hub):
    ids = [finished(hub, entity=n, model=f"m{n % 2}", script=f"/s/{n}.py").id for n in range(4)]
    assert [each.id for each in hub.runs.list()] == ids[::-1]
    assert [each.id for each in hub.runs.list(limit=2)] == ids[:1:-1]
    assert [each.id for each in hub.runs.list(model="m1")] == [ids[3], ids[1]]
    assert [each.id for each in hub.runs.list(entity="2")] == [ids[2]]
    assert [each.id for each in hub.runs.list(script="3.py")] == [ids[3]]
    assert hub.runs.list(script="/elsewhere/3.py") == []
    assert [each.id for each in hub.runs.list(status="done", function="learn")] == ids[::-1]
    assert hub.runs.list(status="failed") == []
    assert len(hub.runs.list(since=timedelta(hours=1))) == 4
    assert hub.runs.list(since=datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    "query", [{}, {"status": "done"}, {"function": "f"}, {"model": "m"}, {"entity_text": "1"}, {"file": "f"}]
)
def test_every_way_to_list_runs_uses_an_index(hub, query):
    finished(hub)
    found = hub.state["runs"].find(query).sort([("started", -1), ("_id", -1)]).explain()
    plan = str(found["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in plan
    assert "'SORT'" not in plan


def test_a_run_is_found_by_the_beginning_of_its_id(hub):
    found = finished(hub)
    assert hub.runs.get(found.id[:-2]).id == found.id
    finished(hub)
    with pytest.raises(SettingsError, match="several begin so"):
        hub.runs.get("r")
    with pytest.raises(SettingsError, match="there is no run 'x'"):
        hub.runs.get("x")


def test_a_status_that_there_is_not_is_refused(hub):
    with pytest.raises(SettingsError, match="did you mean failed"):
        hub.runs.list(status="fail")
    with pytest.raises(SettingsError, match="limit=0"):
        hub.runs.list(limit=0)


def test_a_run_whose_process_has_gone_is_lost_at_once(hub, dead):
    run = begin(hub.state, work()).id
    assert hub.runs.get(run).status == "running"
    as_of(hub, run, dead)
    assert hub.runs.get(run).status == "lost"
    assert [each.id for each in hub.runs.list(status="lost")] == [run]
    assert hub.runs.list(status="running") == []


def test_a_reused_process_id_does_not_hide_that_a_run_is_lost(hub):
    run = begin(hub.state, work()).id
    as_of(hub, run, replace(Process.here(), began=Process.here().began - 1))
    assert hub.runs.get(run).status == "lost"


def test_a_run_of_another_node_is_lost_when_it_was_silent_for_long(hub):
    run = begin(hub.state, work()).id
    there = Process("elsewhere", 1, "another boot", "1", 1)
    as_of(hub, run, there)
    assert hub.runs.get(run).status == "running"
    as_of(hub, run, there, heartbeat=datetime.now(UTC) - timedelta(seconds=40))
    assert hub.runs.get(run).status == "lost"


def test_a_lost_run_is_adopted_and_keeps_its_id(hub, dead):
    run = begin(hub.state, work()).id
    as_of(hub, run, dead)
    assert adopt(hub.state, work(args={"other": 1})) is None
    begun = adopt(hub.state, work())
    assert (begun.id, begun.attempt) == (run, 2)
    found = hub.runs.get(run)
    assert (found.status, found.attempts, found.process) == ("running", 2, Process.here())


def test_a_run_that_somebody_is_at_is_not_adopted(hub):
    begin(hub.state, work())
    assert adopt(hub.state, work()) is None


def test_the_newest_unfinished_run_is_adopted_though_a_newer_one_is_done(hub, dead):
    run = begin(hub.state, work()).id
    as_of(hub, run, dead)
    finished(hub)
    assert adopt(hub.state, work()).id == run


def test_a_run_is_adopted_by_one_process_only(hub, dead):
    run = begin(hub.state, work()).id
    as_of(hub, run, dead)
    from nemesyst.run.records.starting import _take

    seen = hub.state["runs"].find_one({"_id": run})
    assert _take(hub.state, seen) is not None
    assert _take(hub.state, seen) is None


def test_what_an_older_attempt_still_writes_does_not_count(hub, dead):
    with running(hub) as old:
        as_of(hub, old.run, dead)
        begun = adopt(hub.state, work())
    found = hub.runs.get(old.run)
    assert (begun.attempt, found.status, found.attempts) == (2, "running", 2)


def test_stopping_a_run_that_is_over_changes_nothing(hub):
    found = finished(hub)
    assert hub.runs.stop(found.id).over
    assert "stop" not in hub.state["runs"].find_one({"_id": found.id})


def test_long_arguments_are_cut(hub):
    found = finished(hub, args={"text": "x" * 10**6, "many": list(range(10**5))})
    assert len(found.work.args["text"]) < 5000
    assert len(found.work.args["many"]) == 200
