"""What a run says of itself is kept: points in buckets, whatever the database does meanwhile."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.run.records.ops import Append
from nemesyst.run.records.points import Buckets
from nemesyst.run.records.sending import Sender
from nemesyst.run.records.spool import Spool, catch_up
from nemesyst.run.records.starting import adopt
from nemesyst.stages import Snapshot, Unrecorded

from ..database.servers import Node  # noqa: TID252 - the tests are no package that has a name
from ..database.servers import until as server_until  # noqa: TID252 - as above
from .records import running, until, work

pytestmark = pytest.mark.core


def points(hub, run, metric="loss"):
    """Steps of a metric."""
    return hub.runs.curves(run)[metric].steps.tolist()


@pytest.fixture
def spool(hub):
    """The folder of what waits; empty at first and at last."""
    folder = hub.settings.home / "spool"
    yield folder
    for path in folder.glob("*"):
        path.unlink()


@pytest.fixture
def node(tmp_path):
    """A server of the test's own, and a hub on it."""
    node = Node(tmp_path / "node", "--replSet", "rs")
    node.start()
    node.hello()
    with node.client() as client:
        client.admin.command("replSetInitiate", {"_id": "rs", "members": [{"_id": 0, "host": node.host}]})
        server_until(lambda: client.admin.command("hello")["isWritablePrimary"])
    yield node
    if node.process is not None:
        node.process.send_signal(signal.SIGCONT)
    node.kill()


@pytest.fixture
def away(node, tmp_path):
    """A hub on a server that the test may halt."""
    with nm.connect(f"mongodb://{node.host}/?directConnection=true", home=tmp_path / "home") as hub:
        yield hub


def test_curves_have_every_point_with_step_time_and_value(hub):
    before = time.time()
    with running(hub) as recorder:
        for step in range(2500):
            recorder.log({"loss": 1 / (step + 1), "lr": 0.1}, step)
            if step % 100 == 0:
                recorder.log({"validation": math.nan if step == 0 else 2.0}, step)
    curves = hub.runs.curves(recorder.run)
    assert curves["loss"].steps.tolist() == list(range(2500))
    assert np.allclose(curves["loss"].values, 1 / np.arange(1, 2501))
    assert curves["validation"].steps.tolist() == list(range(0, 2500, 100))
    assert math.isnan(curves["validation"].values[0])
    assert before <= curves["lr"].times.min() <= curves["lr"].times.max() <= time.time()
    buckets = list(hub.state["runs.points"].find({"run": recorder.run}))
    assert sorted(len(each["steps"]) for each in buckets) == [25, 500, 1000, 1000]


def test_what_was_logged_before_a_checkpoint_is_there_when_it_is(hub):
    with running(hub) as recorder:
        for step in range(100):
            recorder.log({"loss": 1.0}, step)
        recorder.save(99, Snapshot(99, 0, None, {"model": [b"w"], "state": [b"s"]}))
        until(lambda: hub.state.checkpoints.count_documents({"run": recorder.run}))
        assert points(hub, recorder.run) == list(range(100))


def test_steps_are_counted_where_none_are_given(hub):
    with running(hub) as recorder:
        for _ in range(3):
            recorder.log({"loss": 1.0}, None)
    assert points(hub, recorder.run) == [0, 1, 2]


def test_many_metrics_are_spread_over_buckets():
    made = Buckets("r", 1)
    orders = made.orders([(0, 0.0, {f"layer{n}": 1.0 for n in range(450)})] * 300)
    assert {len(op.push["values"]) for op in orders} == {200, 50}
    assert max(op.size * len(op.push["values"]) for op in orders) <= 20_000
    assert len(made.latest) == 200


def test_an_order_that_is_carried_out_twice_counts_once(hub):
    for at, step in ((0, 1), (1, 2)):
        order = Append("r", "runs.points", "r/1/1", at, 1, {"names": ["a"]}, {"steps": [step], "values": [[0.5]]})
        order.apply(hub.state)
        order.apply(hub.state)
    (bucket,) = hub.state["runs.points"].find()
    assert (bucket["steps"], bucket["values"], bucket["count"]) == ([1, 2], [[0.5, 0.5]], 2)


def test_a_resumed_run_replaces_what_it_logs_again(hub):
    with pytest.raises(KeyboardInterrupt), running(hub) as first:  # noqa: PT012 - it is interrupted at its end
        for step in range(10):
            first.log({"loss": 1.0, "other": 1.0}, step)
        raise KeyboardInterrupt
    with running(hub, resume=True) as second:
        second.rewind(5)
        for _ in range(3):
            second.log({"loss": 2.0}, None)
    assert first.run == second.run
    found = hub.runs.curves(first.run)
    assert found["loss"].steps.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert found["loss"].values.tolist() == [1.0] * 6 + [2.0] * 3
    assert len(found["other"].steps) == 10


def test_progress_is_told_on_and_shown_in_the_record(hub):
    seen = []

    class Seen:
        def rows(self, count):
            seen.append(count)

        def epoch(self, *told):
            seen.append(told)

    with running(hub) as recorder:
        progress = recorder.watching(Seen())
        progress.epoch(2, 5, 100)
        progress.rows(30)
        progress.rows(20)
    found = hub.runs.get(recorder.run)
    assert seen == [(2, 5, 100), 30, 20]
    assert (found.rows, found.epoch) == (50, (2, 5))


def test_workers_that_train_along_keep_no_record_of_their_own(hub):
    class Second:
        rank, size = 1, 2

        def broadcast(self, value):
            assert value is None
            return "r0"

    from nemesyst.run import recorded

    with recorded(hub, work(), Second()) as recorder:
        recorder.log({"loss": 1.0}, 1)
    assert isinstance(recorder, Unrecorded)
    assert recorder.run == "r0"
    assert hub.runs.list() == []


@pytest.mark.parametrize("way", ["halted", "killed"])
def test_points_of_a_time_without_database_are_all_there(node, away, way):
    with running(away) as recorder:
        recorder.log({"loss": 1.0}, 0)
        until(lambda: away.state["runs.points"].count_documents({}))
        node.process.send_signal(signal.SIGSTOP) if way == "halted" else node.kill()
        for step in range(1, 1500):
            recorder.log({"loss": 1.0}, step)
        until(lambda: list((away.settings.home / "spool").glob("*.jsonl")))
        recorder.log({"loss": 1.0}, 1500)
        node.process.send_signal(signal.SIGCONT) if way == "halted" else node.start()
        until(lambda: not list((away.settings.home / "spool").glob("*.jsonl")))
        recorder.log({"loss": 1.0}, 1501)
    assert points(away, recorder.run) == list(range(1502))
    assert away.runs.get(recorder.run).status == "done"


def test_what_could_not_be_told_before_the_end_is_told_by_the_next_command(node, away, tmp_path):
    with running(away) as recorder:
        recorder.log({"loss": 1.0}, 0)
        until(lambda: away.state["runs.points"].count_documents({}))
        node.process.send_signal(signal.SIGSTOP)
        for step in range(1, 20):
            recorder.log({"loss": 1.0}, step)
    assert list((away.settings.home / "spool").glob("*.jsonl"))
    node.process.send_signal(signal.SIGCONT)
    assert catch_up(away) == 1
    assert points(away, recorder.run) == list(range(20))
    assert away.runs.get(recorder.run).status == "done"
    assert catch_up(away) == 0


def test_a_spool_whose_process_lives_is_left_to_it(hub, spool):
    own = Spool(spool, "r")
    own.append([Append("r", "runs.points", "x", 0, 1, {}, {"steps": [1]})])
    assert catch_up(hub) == 0
    own.close()
    assert catch_up(hub) == 0, "it is of a run that this database has not"
    assert len(list(spool.glob("*.jsonl"))) == 1


def test_a_torn_end_of_a_spool_loses_only_its_line(hub, spool):
    with running(hub) as recorder:
        pass
    own = Spool(spool, "r")
    head = {"attempt": 1, "names": ["loss"]}
    own.append(
        [
            Append(
                recorder.run,
                "runs.points",
                f"{recorder.run}/000009/1",
                0,
                1,
                head,
                {"steps": [1], "times": [0.0], "values": [[1.0]]},
            )
        ]
    )
    own.close()
    (path,) = spool.glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"op": "Append", "run": ')
    assert catch_up(hub) == 1
    assert points(hub, recorder.run) == [1]


def test_where_there_is_no_disk_orders_wait_in_memory(hub, monkeypatch):
    sender = Sender(hub, "r")
    monkeypatch.setattr(sender, "_spool", Spool(hub.settings.home / "secret" / "no folder", "r"))
    order = Append("r", "runs.points", "y", 0, 1, {}, {"steps": [1]})
    sender._keep([order])
    assert sender.away
    sender.close()
    assert hub.state["runs.points"].count_documents({"_id": "y"}) == 1


@pytest.mark.parametrize("here", [True, False])
def test_a_run_is_stopped_from_outside(hub, home, names, here):
    program = f"""
        import time
        import nemesyst as nm
        from nemesyst.run import Work, recorded
        from nemesyst.run import recording
        from nemesyst.stages import Alone
        recording._BEAT = 0.2
        with nm.connect(home={str(home)!r}, **{names!r}) as hub, recorded(hub, Work("s", "learn", "learn"), Alone()) as recorder:
            print(recorder.run, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        run = child.stdout.readline().strip()
        if not here:  # as if of another node: it sees the wish when it next gives a sign of life
            hub.state["runs"].update_one({"_id": run}, {"$set": {"boot": "another"}})
        assert not hub.runs.stop(run).over
        assert child.wait(60) != 0
        assert "KeyboardInterrupt" in child.stderr.read()
    assert hub.runs.get(run).status == "stopped"


def test_a_process_whose_run_was_taken_over_ends(hub, monkeypatch):
    from nemesyst.run import recording

    monkeypatch.setattr(recording, "_BEAT", 0.1)
    with pytest.raises(KeyboardInterrupt), running(hub) as recorder:  # noqa: PT012 - the signal may come anywhere
        hub.state["runs"].update_one(
            {"_id": recorder.run}, {"$set": {"boot": "another", "heartbeat": None, "status": "failed"}}
        )
        adopt(hub.state, work())
        signal.sigtimedwait([], 60)
    assert hub.runs.get(recorder.run).attempts == 2


def test_a_user_who_may_not_write_records_goes_unrecorded(hub, server, names):
    user = f"user_{names['state']}"
    role = {"role": "readWrite", "db": names["database"]}
    server.db.client.admin.command("createUser", user, pwd="secret", roles=[role])
    host, port = server.db.client.address
    told = []
    user_of = {"username": user, "password": "secret", **names}
    address = f"mongodb://{host}:{port}/?directConnection=true"
    with nm.connect(address, **user_of) as other, running(other, send=told.append) as recorder:
        recorder.log({"loss": 1.0}, 1)
    server.db.client.admin.command("dropUser", user)
    assert "this run is not recorded" in told[0]["note"]
    assert "secret" not in told[0]["note"]
    assert hub.runs.list() == []


def test_no_thread_is_left_when_a_run_has_ended(hub):
    import threading

    with running(hub):
        assert "nemesyst-recording" in {each.name for each in threading.enumerate()}
    assert "nemesyst-recording" not in {each.name for each in threading.enumerate()}
