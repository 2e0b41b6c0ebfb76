"""A feed while servers, readers and collections come and go: each row once, in the same order, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.database import RateLimit
from nemesyst.errors import DatabaseError, UnreachableError
from nemesyst.feed.cache import CacheWarning

from ..database.servers import Node, ReplicaSet, running, until  # noqa: TID252 - the tests are no package
from .feed_reader import saved

pytestmark = pytest.mark.slow

PATIENCE = 60  # s; a limit, never waited for
ROWS = 60_000
SPEC = nm.Feed("rows", pipeline=[{"$match": {"i": {"$gte": 10}}}], inputs=["i", "v"])


def put_rows(hub, count=ROWS, name="rows"):
    hub.put(name, ({"i": i, "v": i / 2, "pad": "x" * 100} for i in range(count)))


def arrays(feed):
    return [batch["x"].copy() for batch in feed]


def numbers(feed):
    return sorted(int(i) for batch in feed for i in batch["x"][:, 0])


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def own_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nemesyst")]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A set of three members with rows."""
    folder = tmp_path_factory.mktemp("trio")
    nodes = [Node(folder / str(n), "--replSet", "rs", "--oplogSize", 200) for n in range(3)]
    with running(*nodes):
        trio = ReplicaSet(*nodes)
        with nm.connect(trio.address, home=folder) as hub:
            put_rows(hub)
        yield trio


@pytest.fixture
def trio(started):
    """The set with all of its members up."""
    started.settle()
    return started


@pytest.fixture
def alone(tmp_path):
    """One node, a replica set, that can be killed and started again; with its hub and rows."""
    node = Node(tmp_path / "node", "--replSet", "rs")
    with (
        running(node),
        nm.connect(ReplicaSet(node).address, home=tmp_path, serverSelectionTimeoutMS=1000) as hub,
    ):
        put_rows(hub)
        yield node, hub


def kill_primary(trio):
    trio.primary.kill()


def step_down(trio):
    with trio.primary.client() as client:
        client.admin.command("replSetStepDown", 10, force=True)


def kill_secondary(trio):
    next(node for node in trio.nodes if node.follows()).kill()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("harm", "preference"), [(kill_primary, None), (step_down, None), (kill_secondary, "secondary")]
)
def test_an_epoch_goes_on_when_a_member_of_the_set_goes(trio, tmp_path, harm, preference, shuffle):
    with nm.connect(trio.address, home=tmp_path) as hub:
        spec = SPEC.with_(shuffle=shuffle)
        feeds = [hub.feed(spec, shard=(rank, 2), cache=False, read_preference=preference) for rank in range(2)]
        wanted = [arrays(feed) for feed in feeds]
        feeds[0].epoch = 0
        found = []
        for step, batch in enumerate(feeds[0]):
            found.append(batch["x"])
            if step == 3:
                harm(trio)
        assert_same(found, wanted[0])
        assert sorted(np.concatenate([*found, *wanted[1]])[:, 0]) == list(range(10, ROWS))
        assert not own_threads()


def test_an_epoch_goes_on_when_its_only_server_is_started_again(alone):
    node, hub = alone
    feed = hub.feed(SPEC, cache=False)
    wanted = arrays(feed)
    feed.epoch = 0
    batches = iter(feed)
    found = [next(batches)["x"] for _ in range(3)]
    node.kill()
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(arrays, batches)
        time.sleep(3)  # the time that it is away; what a thread starts would end with the thread
        node.start()
        assert_same(found + rest.result(), wanted)


def test_a_server_that_stays_away_is_told_in_bounded_time(alone):
    node, hub = alone
    feed = hub.feed(SPEC, cache=False)
    feed._family.binding.cutoff.patience = 1
    batches = iter(feed)
    next(batches)
    node.kill()
    with pytest.raises(UnreachableError, match=r"reading .*rows: no answer from the database(.|\n)*Check that"):
        list(batches)
    assert not own_threads()


def test_events_of_a_window_are_read_again_when_their_cursor_breaks_off(tmp_path):
    node = Node(tmp_path / "node", "--replSet", "rs", "--setParameter", "enableTestCommands=1")
    with running(node), nm.connect(ReplicaSet(node).address, home=tmp_path) as hub:
        hub.db.create_collection("rows", capped=True, size=2**22)  # always the rows of now: a cursor cannot go on
        hub.put("rows", [{"unit": 0, "t": t, "v": float(t)} for t in range(2000)])
        window = nm.Window(by="unit", on="t", length=2, anchor=[{"$match": {"t": {"$mod": [2, 0]}}}])
        spec = nm.Feed("rows", window=window, inputs="v", batch_size=100)
        broken = {"failCommands": ["getMore"], "closeConnection": True}
        hub.db.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=broken)
        found = arrays(hub.feed(spec, cache=False))
        assert hub.db.client.admin.command("configureFailPoint", "failCommand", mode="off")["count"] == 1
        assert_same(found, arrays(hub.feed(spec, cache=False)))


def start_reader(hub, folder, **arguments):
    """A process of its own that reads (see ``feed_reader.py``) until it is at the end, or killed."""
    connection = {"home": str(hub.settings.home), "database": hub.settings.database, "state": hub.settings.state}
    if hub.settings.address is not None:
        connection["address"] = hub.settings.address.get_secret_value()
    given = {"folder": str(folder), "feed": {"collection": "rows", "inputs": ["i", "v"]}, **connection, **arguments}
    command = [sys.executable, str(Path(__file__).with_name("feed_reader.py")), json.dumps(given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def after_steps(process, steps):
    """Wait until a reader has made so many steps."""
    for _ in range(steps):
        assert process.stdout.readline()


def numbers_in(file):
    return json.loads(file.read_text())["rows"]


def rest_of(hub, state, world, **feed):
    """What ranks give after a state, together."""
    found = []
    for rank in range(world):
        bound = hub.feed("rows", inputs=["i", "v"], shard=(rank, world), **feed)
        bound.load_state_dict(state)
        found += numbers(bound)
    return sorted(found)


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_reader_that_is_killed_is_followed_by_others_without_a_row_lost_or_twice(hub, tmp_path, shuffle, world):
    put_rows(hub, 20_000)
    feed = {"collection": "rows", "inputs": ["i", "v"], "shuffle": shuffle, "batch_size": 100}
    reader = start_reader(hub, tmp_path / "steps", feed=feed, every=3)
    after_steps(reader, 20)
    reader.kill()
    reader.communicate()
    last = max(saved(tmp_path / "steps").values(), key=lambda each: len(each["rows"]))
    assert 1800 <= len(last["rows"]) < 20_000
    rest = rest_of(hub, last["state"], world, shuffle=shuffle, batch_size=100)
    assert sorted([*last["rows"], *rest]) == list(range(20_000))


def test_what_a_killed_process_cached_is_right_for_the_next(hub, tmp_path):
    put_rows(hub, 20_000)
    wanted = arrays(hub.feed("rows", inputs=["i", "v"], cache=False))
    reader = start_reader(hub, tmp_path / "steps", every=1000)
    after_steps(reader, 20)
    reader.kill()
    reader.communicate()
    with warnings.catch_warnings(action="error"):
        feed = hub.feed("rows", inputs=["i", "v"])
        assert feed._family.binding.chunks.entry.chunks()  # it left some
        for _ in range(2):
            assert_same(arrays(feed), wanted)


def test_processes_that_fill_the_cache_at_once_have_the_same_rows(hub, tmp_path):
    put_rows(hub, 20_000)
    readers = [start_reader(hub, tmp_path / str(n), every=1000) for n in range(2)]
    for reader in readers:
        reader.communicate(timeout=60)
        assert reader.returncode == 0
    wanted = list(range(20_000))
    assert [sorted(numbers_in(tmp_path / str(n) / "done")) for n in range(2)] == [wanted, wanted]
    with warnings.catch_warnings(action="error"):
        assert numbers(hub.feed("rows", inputs=["i", "v"])) == wanted


def damage(file):
    with file.open("r+b") as data:
        data.seek(file.stat().st_size // 2)
        byte = data.read(1)
        data.seek(-1, os.SEEK_CUR)
        data.write(bytes([byte[0] ^ 255]))


def test_damaged_files_of_the_cache_are_told_and_the_rows_are_right(hub):
    put_rows(hub, 20_000)
    feed = hub.feed("rows", inputs=["i", "v"])
    wanted = arrays(feed)
    for file in feed._family.binding.chunks.entry._folder.path.iterdir():
        if file.stat().st_size > 9999:
            damage(file)
    again = hub.feed("rows", inputs=["i", "v"])
    with pytest.warns(CacheWarning, match="damaged"):
        assert_same(arrays(again), wanted)


def left_open(hub):
    """Cursors of ours on the server, and sessions."""
    admin = hub.db.client.admin
    running = admin.aggregate([{"$currentOp": {"idleCursors": True}}])
    cursors = [each["cursor"] for each in running if "cursor" in each and each["ns"].startswith(hub.settings.database)]
    return cursors, len(list(hub.db.client.config.system.sessions.database.aggregate([{"$listLocalSessions": {}}])))


def broken(feed):
    for _ in feed:
        break


def thrown(feed):
    with suppress(ZeroDivisionError):
        for _ in feed:
            _ = 1 / 0


def dropped(feed):
    batches = iter(feed)
    next(batches)
    del batches


def closed(feed):
    batches = iter(feed)
    next(batches)
    batches.close()


def forget_history(feed):
    """Have the feed read as when the server's history begins after its cutoff."""
    cutoff = feed._family.binding.cutoff
    assert cutoff.way == "history"
    cutoff.give_up("history", DatabaseError("over"))


@pytest.mark.parametrize("way", ["history", "stream"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_whoever_stops_early_leaves_no_thread_cursor_or_session(hub, way, shuffle):
    put_rows(hub, 20_000)
    sessions = []
    for end in (broken, thrown, dropped, closed) * 3:
        feed = hub.feed("rows", inputs="i", shuffle=shuffle, cache=False)
        if way == "stream":
            forget_history(feed)
        end(feed)
        assert not own_threads()
        cursors, count = left_open(hub)
        assert not cursors
        sessions.append(count)
    assert sessions[-1] - sessions[0] < 6  # the driver keeps a few, and uses them again


@pytest.mark.timeout(45)
def test_whoever_stops_early_does_not_wait_for_a_slow_rate(hub):
    put_rows(hub, 20_000)
    feed = hub.feed("rows", inputs="i", batch_size=10, cache=False)
    feed._family.binding.cutoff.limit = RateLimit(200)
    batches = iter(feed)
    next(batches)  # the first chunk has 11 kB, so the second one comes in 55 s, and another one in 110 s
    batches.close()
    assert not own_threads()


def test_whoever_stops_early_does_not_wait_for_a_server_that_is_gone(alone):
    node, hub = alone
    batches = iter(hub.feed("rows", inputs="i", cache=False))
    next(batches)
    node.kill()
    batches.close()
    until(lambda: not own_threads())


@pytest.mark.parametrize("slow", [None, 200_000])
def test_ctrl_c_ends_a_reader_and_leaves_no_cursor(hub, tmp_path, slow):
    put_rows(hub, 20_000)
    reader = start_reader(hub, tmp_path / "steps", cache=False, pause=0.1, bytes_per_second=slow)
    after_steps(reader, 1)
    reader.send_signal(signal.SIGINT)
    reader.communicate(timeout=PATIENCE)
    assert reader.returncode == -signal.SIGINT
    assert not left_open(hub)[0]
