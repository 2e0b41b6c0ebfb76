"""Jobs that are begun again: with the run of their own earlier attempt, never with an older one of the same work."""

from __future__ import annotations

import signal
import time

import pytest

import nemesyst as nm
from nemesyst.run import Job, LocalExecutor, recorded, recording, run_rounds
from nemesyst.run import round as one
from nemesyst.run.checkpoints import Checkpoints
from nemesyst.run.records.starting import begin
from nemesyst.stages import Alone, Snapshot

from ..database.servers import Node  # noqa: TID252 - the tests are no package that has a name
from ..database.servers import until as server_until  # noqa: TID252 - as above
from .records import PATIENCE, until, work

pytestmark = pytest.mark.core

SCRIPT = """
import os, signal
import nemesyst as nm, numpy as np

@nm.learner(nm.Feed("rows", inputs=["i"], targets=["y"]), model="m")
def learn(run):
    record = run.hub.state.runs.find_one({"_id": run.context.recorder.run})
    run.hub.db.seen.insert_one({"_id": run.hub.db.seen.count_documents({}), "run": record["_id"], "attempts": record["attempts"]})
    if run.hub.db.seen.count_documents({}) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return nm.Trained({"w": np.ones(1)})
"""


@pytest.fixture
def train(hub, tmp_path, monkeypatch):
    """Do a job that is killed until it was begun three times in all; its report."""
    monkeypatch.setattr(one, "_LONGEST", 0.02)
    hub.put("rows", [{"i": float(n), "y": 1.0} for n in range(20)])
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)

    def run(**options):
        with LocalExecutor(hub.settings.reveal(), processes=1) as executor:
            return run_rounds([Job(path, "learn", "learn", **options)], executor)[0]

    return run


def test_a_retry_leaves_the_run_of_an_older_command_alone(train, hub):
    old = train()
    assert old.error is not None
    report = train(retries=1)
    assert report.error is None, report.error
    seen = list(hub.db.seen.find(sort=[("_id", 1)]))
    assert [each["attempts"] for each in seen] == [1, 1, 2]
    assert seen[0]["run"] == old.run != report.run
    assert {each["run"] for each in seen[1:]} == {report.run}


def test_who_resumes_takes_the_run_of_an_older_command_and_retries_go_on_with_it(train, hub):
    old = train()
    report = train(retries=1, resume=True)
    assert report.error is None, report.error
    assert report.run == old.run
    assert [each["attempts"] for each in hub.db.seen.find(sort=[("_id", 1)])] == [1, 2, 3]


def continued(hub, run):
    """The record of one that goes on with a run."""
    with recorded(hub, work(), Alone(), resume=True, continues=run) as recorder:
        pass
    return recorder.run, recorder.attempt


def test_a_run_is_gone_on_with_though_its_record_says_that_it_runs(hub):
    run = begin(hub.state, work()).id
    assert continued(hub, run) == (run, 2)


@pytest.mark.parametrize("change", ["done", "gone"])
def test_where_it_is_done_or_gone_a_new_one_begins(hub, change):
    old, run = (begin(hub.state, work()).id for _ in range(2))
    hub.state.runs.update_one({"_id": old}, {"$set": {"status": "failed"}})
    if change == "done":
        hub.state.runs.update_one({"_id": run}, {"$set": {"status": "done"}})
    else:
        hub.state.runs.delete_one({"_id": run})
    found, attempt = continued(hub, run)
    assert found not in (old, run)
    assert attempt == 1


@pytest.fixture
def node(tmp_path):
    """A server that the test may halt."""
    node = Node(tmp_path / "node", "--replSet", "rs")
    node.start()
    node.hello()
    with node.client() as client:
        client.admin.command("replSetInitiate", {"_id": "rs", "members": [{"_id": 0, "host": node.host}]})
        server_until(lambda: client.admin.command("hello")["isWritablePrimary"])
    yield node
    node.process.send_signal(signal.SIGCONT)
    node.kill()


@pytest.mark.slow
def test_a_job_that_is_done_ends_although_its_server_hangs_and_its_time_is_that_of_the_outcome(
    node, tmp_path, monkeypatch
):
    known, closed = [], []
    finish, close = recording.Recording._finish, Checkpoints.close
    monkeypatch.setattr(recording.Recording, "_finish", lambda *told: known.append(told[2]) or finish(*told))
    monkeypatch.setattr(Checkpoints, "close", lambda *told, **how: closed.append(time.time()) or close(*told, **how))
    with nm.connect(f"mongodb://{node.host}/?directConnection=true", home=tmp_path / "home") as away:
        with recorded(away, work(), Alone()) as recorder:
            recorder.save(1, Snapshot(1, 0, None, {"model": [b"w"], "state": [b"s"]}))
            until(lambda: away.state.checkpoints.count_documents({}))
            node.process.send_signal(signal.SIGSTOP)
            outcome = time.time()
        took = time.time() - outcome
        node.process.send_signal(signal.SIGCONT)
    assert took < PATIENCE
    assert outcome <= known[0] <= closed[0], "the time of its end is that before what the end waits for"
