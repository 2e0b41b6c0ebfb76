"""Reads under a cutoff while others write, share it, kill its cursors, or write more than is followed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from bson import ObjectId

from nemesyst.database import STAMP
from nemesyst.database.cutoff import RateLimit, Reread

from .cutoffs import FILLED, SORTED, WAYS, documents, ids_of, put, rows_of

pytestmark = pytest.mark.slow


class Writers:
    """Threads that insert, update, delete and commit transactions; each row's incarnation is its ``born``."""

    def __init__(self, hub, count=4):
        self._rows, self._client, self._stop = hub.db.rows, hub.db.client, threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(count)]
        self.acknowledged = [[] for _ in range(count)]

    def _work(self, thread):
        random = np.random.default_rng(thread)
        step = 0
        while not self._stop.is_set():
            step += 1
            names = [f"{thread}.{random.integers(60)}" for _ in range(4)]
            born = [ObjectId() for _ in names]
            rows = [{"_id": n, "born": b, "x": 0, STAMP: FILLED} for n, b in zip(names, born, strict=True)]
            if step % 3 == 0:
                self._rows.delete_many({"_id": {"$in": names}})
                self._rows.insert_many({row["_id"]: row for row in rows}.values())
            elif step % 3 == 1:
                with self._client.start_session() as session, session.start_transaction():
                    self._rows.delete_many({"_id": {"$in": names[:2]}}, session=session)
                    self._rows.insert_one(rows[0], session=session)
            else:
                self._rows.update_many({"_id": {"$in": names}}, {"$inc": {"x": 1}})
            new = ObjectId()
            self._rows.insert_one({"_id": new, "born": new, "x": 0, STAMP: FILLED})
            self.acknowledged[thread].append(new)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def at(hub, time):
    """What a plain snapshot shows: incarnation by ``_id``."""
    answer = hub.db.command(
        {"find": "rows", "batchSize": 10**6, "readConcern": {"level": "snapshot", "atClusterTime": time}}
    )
    assert answer["cursor"]["id"] == 0
    return {row["_id"]: row["born"] for row in answer["cursor"]["firstBatch"]}


@pytest.mark.parametrize("way", WAYS)
def test_exactly_the_rows_of_the_cutoff_are_read_under_load(hub, now, cutoff, way):
    hub.db.rows.insert_one({"_id": 0, "born": 0, STAMP: FILLED})
    with Writers(hub) as writers:
        for _ in range(4):
            while min(map(len, writers.acknowledged)) < 10:
                pass
            acknowledged = [new for done in writers.acknowledged for new in list(done)]
            time = now()
            there = at(hub, time)
            assert set(acknowledged) <= set(there)  # inserted before, never deleted
            under = cutoff(time, way)
            for _ in range(5):
                try:
                    found, read = rows_of(under, find=SORTED, first_rows=20, batch_bytes=2000)
                except Reread:
                    continue
                born = {row["_id"]: row["born"] for row in found}
                shown = at(hub, read.time)
                assert born == {key: value for key, value in shown.items() if there.get(key) == value}
            under.close()
            for done in writers.acknowledged:
                done.clear()


def test_threads_share_a_cutoff(hub, now, cutoff):
    put(hub, range(1000))
    under = cutoff(now(), "stream")
    put(hub, range(1000, 3000))
    found = {}

    def read(part):
        between = {"filter": {"_id": {"$gte": part * 500, "$lt": part * 500 + 500}}, "sort": {"_id": 1}}
        found[part] = ids_of(under, find=between)

    threads = [threading.Thread(target=read, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [identity for part in range(6) for identity in found[part]] == list(range(1000))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ahead", [0, 2])
def test_a_cursor_that_is_killed_is_opened_again_where_it_was(hub, now, cutoff, way, ahead):
    put(hub, range(2000))
    under = cutoff(now(), way)
    put(hub, range(2000, 2100))
    read = under.read(find=SORTED, first_rows=50, batch_bytes=3000, ahead=ahead)
    found, kills = [], 0
    for number, batch in enumerate(read):
        found += documents(batch)
        if number in (0, 7, 15):
            kills += 1
            killed = hub.db.command("killCursors", "rows", cursors=[read._reader._reading.cursor._number])
            assert killed["cursorsKilled"]
    assert read.retries == kills == 3
    ids = [row["_id"] for row in found]
    assert [identity for identity in ids if identity not in read.excluded] == list(range(2000))
    assert len(set(ids)) == len(ids)


def test_rows_that_come_in_another_order_are_not_skipped_by_guess(hub, now, cutoff):
    hub.db.rows.insert_many([{"_id": i} for i in range(2000)])
    read = cutoff(now()).read(stages=[{"$set": {"r": {"$rand": {}}}}], first_rows=50, batch_bytes=3000)
    batches = iter(read)
    next(batches)
    next(batches)
    hub.db.command("killCursors", "rows", cursors=[read._reader._reading.cursor._number])
    with pytest.raises(Reread, match="another order"):
        list(batches)


def test_too_many_new_rows_leave_it_to_the_stamps(hub, now, cutoff, monkeypatch):
    monkeypatch.setattr("nemesyst.database.cutoff.stream.MOST", 50)
    put(hub, range(10))
    under = cutoff(now(), "stream")
    put(hub, range(10, 100))
    assert ids_of(under) == list(range(10))
    assert under.way == "stamp"


def test_changes_that_are_lost_while_rows_are_read_are_told(hub, now, cutoff, monkeypatch):
    put(hub, range(10))
    under = cutoff(now(), "stream")
    assert ids_of(under) == list(range(10))
    put(hub, range(10, 100))
    monkeypatch.setattr("nemesyst.database.cutoff.stream.MOST", 50)
    with pytest.raises(Reread):
        ids_of(under)
    assert ids_of(under) == list(range(10))
    assert under.way == "stamp"


def test_a_huge_row_passes_the_change_stream(hub, now, cutoff):
    put(hub, [1])
    under = cutoff(now(), "stream")
    put(hub, [2], data=bytes((16 << 20) - 100))
    assert ids_of(under) == [1]


def test_the_rate_is_asked_before_each_batch(hub, now, cutoff):
    put(hub, range(1000))
    limit = RateLimit(1e12)
    taken = []
    limit.wait = taken.append
    with cutoff(now(), limit=limit).read(find=SORTED, batch_bytes=5000) as read:
        assert [len(batch) for batch in read] == taken


def test_nothing_is_left_behind(hub, now, cutoff):
    put(hub, range(1000))
    under = cutoff(now(), "stream")

    def opened():
        return hub.db.command("serverStatus")["metrics"]["cursor"]["open"]["total"]

    before = opened()
    for batch in under.read(find=SORTED, first_rows=2, batch_bytes=100):
        assert documents(batch)
        break
    with under.read(find=SORTED) as read:
        assert sum(map(len, map(documents, read))) == 1000
    under.close()
    assert opened() == before


def test_a_read_is_read_once_and_its_exclusions_come_last(hub, now, cutoff):
    put(hub, range(10))
    read = cutoff(now()).read(find=SORTED)
    with pytest.raises(RuntimeError, match="known when"):
        _ = read.excluded
    assert list(read)
    with pytest.raises(RuntimeError, match="read once"):
        list(read)
