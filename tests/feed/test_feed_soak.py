"""Long chaos with feeds, only in ``make soak``: kills at random moments, and still each row once.

Each round prints what it does, so that a failure can be played again.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FieldError

from ..database.servers import Node, ReplicaSet, running, until  # noqa: TID252 - the tests are no package
from .feed_reader import saved

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

ROWS = 60_000


def put_rows(hub, count=ROWS):
    hub.put("rows", ({"i": i, "v": i / 2, "pad": "x" * 100} for i in range(count)))


def start_readers(hub, folder, world, **arguments):
    """A process for each rank, which reads until it is killed; see ``feed_reader.py``."""
    connection = {"home": str(hub.settings.home), "database": hub.settings.database, "state": hub.settings.state}
    if hub.settings.address is not None:
        connection["address"] = hub.settings.address.get_secret_value()
    program = str(Path(__file__).with_name("feed_reader.py"))
    folder.mkdir()
    readers = []
    for rank in range(world):
        given = {"folder": str(folder / str(rank)), "rank": rank, "world": world, **connection, **arguments}
        command = [sys.executable, program, json.dumps(given)]
        readers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return readers


def last_common(folder, world):
    """The newest state that all ranks have saved, and what they had been given by then; None: there is none."""
    ranks = [saved(folder / str(rank)) for rank in range(world)]
    ends = [
        json.loads(done.read_text()) if (done := folder / str(rank) / "done").exists() else None
        for rank in range(world)
    ]
    steps = [step for step in set().union(*ranks) if all(step in r or e for r, e in zip(ranks, ends, strict=True))]
    if not steps:
        return None
    step = max(steps)
    rows = [i for r, e in zip(ranks, ends, strict=True) for i in (r.get(step) or e)["rows"]]
    return next(r[step] for r in ranks if step in r)["state"], rows


def test_killed_again_and_again_readers_on_changing_numbers_of_ranks_give_each_row_once(hub, tmp_path):
    put_rows(hub)
    for number in range(12):
        feed = {"collection": "rows", "inputs": "i", "shuffle": number % 2 == 1, "batch_size": 64, "seed": number}
        given, state = [], None
        for turn in range(4):
            world, even = random.randint(1, 3), random.random() < 0.5
            moment = random.uniform(1.0, 5.0)
            print(f"round {number}.{turn}: {world} ranks, even={even}, kill after {moment:.2f} s")
            folder = tmp_path / f"{number}-{turn}"
            last = turn == 3
            options = {"even": even, "cache": number % 3 > 0, "every": 2, "pause": 0 if last else 0.02, "resume": state}
            readers = start_readers(hub, folder, world, feed=feed, **options)
            if not last:
                time.sleep(moment)
                for reader in readers:
                    reader.kill()
            for reader in readers:
                reader.wait(300)
            if last:
                assert not any(reader.returncode for reader in readers)
                given += [
                    i for rank in range(world) for i in json.loads((folder / str(rank) / "done").read_text())["rows"]
                ]
            elif (found := last_common(folder, world)) is not None:
                state = found[0]
                given += found[1]
        assert sorted(given) == list(range(ROWS)), f"round {number}"


def test_killed_at_random_moments_processes_leave_a_cache_that_is_right(hub, tmp_path):
    put_rows(hub)
    wanted = hub.feed("rows", inputs=["i", "v"], cache=False).to_numpy()["x"]
    for number in range(10):
        feed = {"collection": "rows", "inputs": ["i", "v"], "missing": float(number)}  # an entry of its own
        moment = random.uniform(0.5, 2.5)
        print(f"round {number}: kill after {moment:.2f} s")
        readers = [*start_readers(hub, tmp_path / f"{number}a", 1, feed=feed, every=10_000)]
        readers += start_readers(hub, tmp_path / f"{number}b", 2, feed=feed, every=10_000)
        time.sleep(moment)
        for reader in readers:
            reader.kill()
            reader.wait()
        bound = hub.feed(nm.Feed(**feed))
        for _ in range(2):
            np.testing.assert_array_equal(bound.to_numpy()["x"], wanted)


@pytest.fixture
def trio(tmp_path):
    """A set of three members."""
    nodes = [Node(tmp_path / str(n), "--replSet", "rs", "--oplogSize", 200) for n in range(3)]
    with running(*nodes):
        yield ReplicaSet(*nodes)


def test_members_are_killed_all_the_time_and_each_epoch_is_the_same(trio, tmp_path):
    with nm.connect(trio.address, home=tmp_path / "home") as hub:
        put_rows(hub)
        for preference in (None, "secondaryPreferred", "nearest"):
            for shuffle in (False, True):
                spec = nm.Feed("rows", pipeline=[{"$match": {"i": {"$gte": 10}}}], inputs=["i", "v"], shuffle=shuffle)
                feed = hub.feed(spec, shard=(1, 2), cache=False, read_preference=preference)
                wanted = feed.to_numpy()["x"]
                for _ in range(6):
                    victim, moment = random.choice(trio.nodes), random.uniform(0, 0.3)
                    print(
                        f"{preference} shuffle={shuffle}: {'primary' if victim.leads() else 'secondary'} {moment:.2f} s"
                    )
                    killing = threading.Timer(moment, victim.kill)
                    killing.start()
                    feed.epoch = 0
                    np.testing.assert_array_equal(feed.to_numpy()["x"], wanted)
                    killing.join()
                    trio.settle()


def test_whoever_stops_early_does_not_wait_for_a_server_that_hangs(tmp_path):
    node = Node(tmp_path / "node", "--replSet", "rs")
    with running(node), nm.connect(ReplicaSet(node).address, home=tmp_path) as hub:
        put_rows(hub)
        batches = iter(hub.feed("rows", inputs="i", cache=False))
        next(batches)
        node.process.send_signal(signal.SIGSTOP)
        awake = threading.Timer(300, node.process.send_signal, (signal.SIGCONT,))  # so that the test can fail
        awake.start()
        try:
            batches.close()
            assert awake.is_alive()
        finally:
            awake.cancel()
            node.process.send_signal(signal.SIGCONT)
        until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("nemesyst-feed")])


def insert(hub, count, **fields):
    step = 50_000
    for first in range(0, count, step):
        rows = [{"_id": i, "i": i, "v": i / 2, **fields} for i in range(first, min(first + step, count))]
        hub.db.rows.insert_many(rows, ordered=False)


def test_one_bad_row_among_a_million_is_told(hub):
    insert(hub, 1_000_000)
    feed = hub.feed("rows", inputs=["i", "v"], cache=False)
    assert sum(len(batch["x"]) for batch in feed) == 1_000_000
    for change, said in (
        ({"$set": {"v": "cold"}}, "field v: document .*654321 holds 'cold': kinds differ"),
        ({"$unset": {"v": 1}}, r"field v is missing in document 654321 \(1 of"),
        ({"$set": {"v": None}}, r"field v is null in document 654321 \(1 of"),
    ):
        hub.db.rows.update_one({"_id": 654_321}, change)
        with pytest.raises(FieldError, match=said):
            list(hub.feed("rows", inputs=["i", "v"], shuffle=True))


MEMORY = """
import sys, nemesyst as nm
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024
home, database, state, cache, shuffle = sys.argv[1:]
with nm.connect(home=home, database=database, state=state) as hub:
    feed = hub.feed("rows", inputs=["i", "v"], cache=cache == "1", shuffle=shuffle == "1", batch_size=4096)
    start, most = resident(), 0
    for epoch in range(3):
        for step, batch in enumerate(feed):
            if step % 16 == 0:
                most = max(most, resident())
    print(most - start)
"""


@pytest.mark.parametrize("shuffle", ["0", "1"])
@pytest.mark.parametrize("cache", ["0", "1"])
def test_memory_is_flat_in_the_number_of_rows(hub, cache, shuffle):
    grown = []
    for count in (500_000, 5_000_000):
        hub.db.rows.drop()
        insert(hub, count)
        place = [str(hub.settings.home), hub.settings.database, hub.settings.state, cache, shuffle]
        told = subprocess.run([sys.executable, "-c", MEMORY, *place], check=True, capture_output=True, text=True)
        grown.append(float(told.stdout))
    print(f"cache={cache} shuffle={shuffle}: {grown[0]:.0f} MB, {grown[1]:.0f} MB")
    assert grown[1] < 300
    assert grown[1] < grown[0] + 100  # of the cache a little may stay mapped
