"""Rows that are kept: pinned in the hub or in a folder, and those of pipelines that run once as a whole."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain

import pytest

import nemesyst as nm
from nemesyst.errors import FeedError

pytestmark = pytest.mark.slow

GROUP = [{"$sort": {"v": -1}}, {"$limit": 2500}, {"$set": {"w": {"$multiply": ["$v", 2]}}}]


@pytest.fixture
def rows(hub):
    hub.db.rows.insert_many([{"i": i, "v": i / 2, "text": "x" * 40} for i in range(3000)])
    return hub


def numbers(feed):
    return [int(i) for batch in feed for i in batch["x"][:, 0]]


def kept(hub):
    """Sets, chunks and blobs in the state database."""
    state = hub.state
    claims = state["plans.kept"].count_documents({"_id": {"$regex": ":claim$"}})
    contents = {(row["digest"], row["size"]) for row in state["plans.rows"].find()}
    return (
        state["plans.kept"].count_documents({}) - claims,
        state["plans.rows"].count_documents({}),
        len(contents),
        claims,
    )


@pytest.mark.parametrize("shuffle", [False, True])
def test_pinned_rows_stay_as_they_were(rows, shuffle):
    spec = nm.Feed("rows", inputs=["i", "v"], shuffle=shuffle, batch_size=100)
    before, after = (numbers(rows.feed(spec)) for _ in range(2))
    feed = rows.feed(spec, cache=False)
    assert feed.pin() is feed
    rows.db.rows.update_many({"i": {"$lt": 50}}, {"$set": {"i": -1}})
    rows.db.rows.delete_many({"i": {"$gt": 2000}})
    assert numbers(feed) == before == after
    assert feed.lineage()["changed"] == []
    other = rows.feed(spec, cache=False)
    assert len(numbers(other)) < 3000
    other.load_state_dict(feed.state_dict())
    again, third = numbers(other), rows.feed(spec, cache=False)
    third.load_state_dict({**feed.state_dict(), "parts": {}})
    assert numbers(third) == before
    assert numbers(third) == again


def test_a_feed_of_the_same_cutoff_reads_what_was_pinned(rows):
    spec = nm.Feed("rows", inputs="i")
    feed = rows.feed(spec, cache=False).pin()
    as_of = feed._family.binding.time
    rows.db.rows.delete_many({})
    assert sorted(numbers(rows.feed(spec, as_of=as_of, cache=False))) == list(range(3000))
    assert numbers(rows.feed(spec, cache=False)) == []


def test_each_content_is_stored_once(rows):
    rows.feed("rows", inputs="i").pin().pin()
    sets, chunks, contents, claims = kept(rows)
    assert (sets, contents, claims) == (1, chunks, 0)
    blobs = rows.state["blobs"].count_documents({})
    rows.db.other.insert_one({})
    rows.db.rows.insert_one({"i": 3000, "v": 0.0, "text": ""})
    rows.feed("rows", inputs="i").pin()
    assert kept(rows)[:3] == (2, 2 * chunks, chunks + 1)
    assert rows.state["blobs"].count_documents({}) <= blobs + 1


def test_pinning_under_a_pipeline_keeps_what_it_yields(rows):
    stages = [{"$match": {"i": {"$mod": [2, 0]}}}, {"$project": {"_id": 0, "i": 1}}]
    feed = rows.feed("rows", pipeline=stages, inputs="i", cache=False).pin()
    rows.db.rows.drop()
    assert sorted(numbers(feed)) == list(range(0, 3000, 2))


@pytest.mark.parametrize("window", [None, nm.Window(on="i", length=5)])
def test_a_folder_has_the_rows_and_their_lineage(rows, tmp_path, window):
    parquet = pytest.importorskip("pyarrow.parquet")
    feed = rows.feed("rows", inputs=["i", "v"], targets="text", split=nm.Split(test=0.25), window=window)
    feed.pin(tmp_path / "out")
    table = parquet.read_table([str(path) for path in sorted((tmp_path / "out").glob("*.parquet"))])
    columns = {name: table[name].to_pylist() for name in table.column_names}
    assert sorted(columns["i"]) == list(range(3000))
    assert [v * 2 for v in columns["v"]] == columns["i"]
    assert set(columns["text"]) == {0}
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert lineage["digest"] == feed.lineage()["digest"]
    counts = {part: columns["part"].count(part) for part in ("train", "test")}
    if window is None:
        assert counts == {part: lineage["rows"][part] for part in counts}
    with pytest.raises(FeedError, match=r"folder .*out is not empty"):
        feed.pin(tmp_path / "out")


def test_a_folder_that_cannot_be_is_told(rows, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(FeedError, match=r"pin: folder .*file.* cannot be written"):
            rows.feed("rows", inputs="i").pin(folder)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_pipeline_that_runs_as_a_whole_runs_once(rows, shuffle):
    spec = nm.Feed("rows", pipeline=GROUP, inputs=["i", "w"], shuffle=shuffle, batch_size=64)
    feeds = [rows.feed(spec, shard=(rank, 3)) for rank in range(3)]
    parts = [numbers(feed) for feed in feeds]
    assert sorted(chain(*parts)) == list(range(500, 3000))
    assert numbers(rows.feed(spec, cache=False)) == numbers(rows.feed(spec))
    sets, chunks, contents, claims = kept(rows)
    assert (sets, claims, chunks) == (1, 0, contents)


@pytest.mark.parametrize("stage", [{"$sample": {"size": 700}}, {"$match": {"$expr": {"$lt": [{"$rand": {}}, 0.3]}}}])
def test_what_chance_decides_is_decided_once(rows, stage):
    spec = nm.Feed("rows", pipeline=[stage], inputs="i")
    first = numbers(rows.feed(spec, cache=False))
    assert 300 < len(first) < 1500
    assert numbers(rows.feed(spec, cache=False)) == first
    ranks = [numbers(rows.feed(spec, shard=(rank, 2))) for rank in range(2)]
    assert sorted(chain(*ranks)) == sorted(first)


def test_ranks_that_begin_together_take_the_same_chance(rows):
    spec = nm.Feed("rows", pipeline=[{"$sample": {"size": 700}}], inputs="i")
    feeds = [rows.feed(spec, shard=(rank, 3), cache=False) for rank in range(3)]
    found = [number for feed in feeds for number in numbers(feed)]
    assert (len(found), len(set(found))) == (700, 700)


def test_a_whole_pipeline_resumes(rows):
    spec = nm.Feed("rows", pipeline=GROUP, inputs="i", shuffle=True, batch_size=100)
    feed, begun = rows.feed(spec), []
    for batch in feed:
        begun += batch["x"][:, 0].astype(int).tolist()
        if len(begun) == 700:
            break
    rows.db.rows.delete_many({})
    again = rows.feed(spec, cache=False)
    again.load_state_dict(feed.state_dict())
    assert sorted(begun + numbers(again)) == list(range(500, 3000))


def test_a_whole_pipeline_without_rows(rows):
    feed = rows.feed("rows", pipeline=[{"$match": {"i": -1}}, {"$sort": {"v": 1}}], inputs="i")
    assert list(feed) == []
    assert len(feed) == 0


PROGRAM = """
import json, sys
import nemesyst as nm
how = json.load(sys.stdin)
hub = nm.connect(home=how["home"], database=how["database"], state=how["state"])
print("ready", flush=True)
feed = hub.feed("rows", pipeline=how["pipeline"], inputs="i", cache=False, as_of=how.get("as_of"))
if how.get("pin"):
    feed.pin()
print(json.dumps([feed.state_dict()["plan"], sorted(int(i) for b in feed for i in b["x"][:, 0])]))
"""


def start(home, names, **how):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(json.dumps({"home": str(home), **names, "pipeline": GROUP, **how}))
    process.stdin.close()
    return process


def ended(process):
    said, wrong = process.stdout.read(), process.stderr.read()
    assert process.wait(60) == 0, wrong
    return json.loads(said.splitlines()[-1])


def test_two_processes_that_begin_at_once_keep_one_set(rows, home, names):
    told = [ended(process) for process in [start(home, names) for _ in range(2)]]
    assert told[0] == told[1]
    assert told[0][1] == list(range(500, 3000))
    sets, chunks, contents, claims = kept(rows)
    assert (sets, chunks, claims) == (1, contents, 0)


def killed_while_keeping(hub, home, names, **how):
    """Kill a process when it has stored a chunk or two; whether it was at work."""
    chunks = hub.state["plans.rows"].count_documents({})
    process = start(home, names, **how)
    until = time.monotonic() + 60
    while hub.state["plans.rows"].count_documents({}) == chunks and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    process.stderr.close()


@pytest.mark.slow
def test_another_process_takes_over_from_one_that_is_killed_while_it_keeps_rows(rows, home, names):
    rows.db.rows.insert_many([{"i": i, "v": i / 2, "text": "x"} for i in range(3000, 40_000)])
    hows = [{"pipeline": GROUP, "pin": False}, {"pipeline": [], "pin": True}]
    for how in hows:
        killed_while_keeping(rows, home, names, **how)
    assert rows.state["plans.kept"].count_documents({"set": {"$exists": True}}) == 0
    # what is half there is nobody's; the claims of the dead run out
    takers = [start(home, names, **how) for how in hows]
    assert [len(found) for _, found in map(ended, takers)] == [2500, 40_000]
    sets, _, _, claims = kept(rows)
    assert (sets, claims) == (2, 0)


def test_a_right_to_read_alone_pins_nothing_and_says_so(rows, home, names, server):
    rows.state.command(
        "createUser", f"reader_{names['state']}", pwd="secret", roles=[{"role": "read", "db": names["database"]}]
    )
    reader = {"authSource": names["state"], "username": f"reader_{names['state']}", "password": "secret"}
    uri = server._embedded.uri
    with nm.connect(uri, **names, **reader) as hub:
        feed = hub.feed("rows", inputs="i")
        with pytest.raises(
            FeedError, match=r"cannot be pinned: there is no right to write to the state database\n.*folder"
        ):
            feed.pin()
        assert sorted(numbers(feed)) == list(range(3000))
        with pytest.raises(nm.NemesystError, match="state"):
            list(hub.feed("rows", pipeline=GROUP, inputs="i"))
