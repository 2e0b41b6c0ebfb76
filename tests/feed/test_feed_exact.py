"""What the property-based tests of the feed do not reach: other processes, writers at work, odd collections, whole digests."""

import json
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bson import Timestamp

import nemesyst as nm
from nemesyst.errors import DatabaseError

sys.path.insert(0, str(Path(__file__).parent))

from reference import arrays, names_of, part_of, rows_of, samples_of

pytestmark = [pytest.mark.core, pytest.mark.slow]


@pytest.fixture
def telemetry(hub):
    """3,000 rows of 7 units, clustered."""
    hub.put(
        "rows", [{"unit": i % 7, "t": i, "air": i / 8, "mode": "abc"[i % 3]} for i in range(3000)], key=("unit", "t")
    )
    return hub


def spec(**changes):
    options = {"inputs": ["t", "air"], "targets": "unit", "shuffle": True, "seed": 5, "batch_size": 64}
    return nm.Feed("rows", **{**options, **changes})


def test_the_digest_is_the_same_for_any_number_of_ranks_and_whatever_was_read(telemetry):
    digests = set()
    as_of = telemetry.feed(spec()).lineage()["as_of"]
    for shard, even, cache in (((0, 1), False, True), ((1, 3), False, False), ((0, 2), True, True)):
        feed = telemetry.feed(spec(), as_of=Timestamp(*as_of), shard=shard, even=even, cache=cache)
        next(iter(feed))
        lineage = feed.lineage()
        digests.add((lineage["digest"], tuple(lineage["digests"]), lineage["bounds"], lineage["plan"]))
    assert len(digests) == 1


def test_without_a_write_in_between_two_feeds_have_one_plan(telemetry):
    assert telemetry.feed(spec()).state_dict()["plan"] == telemetry.feed(spec(), shard=(1, 2)).state_dict()["plan"]
    telemetry.put("rows", [{"unit": 9, "t": 1, "air": 0.0, "mode": "a"}], key=("unit", "t"))
    assert len(telemetry.feed(spec()).to_numpy()["y"]) == 3001


OTHER = """
import sys, hashlib, nemesyst as nm
from bson import Timestamp
home, database, state, time, inc, rank = sys.argv[1:]
with nm.connect(home=home, database=database, state=state) as hub:
    spec = nm.Feed("rows", inputs=["t", "air"], targets="unit", shuffle=True, seed=5, batch_size=64)
    feed = hub.feed(spec, as_of=Timestamp(int(time), int(inc)), shard=(int(rank), 2))
    for _ in range(2):
        digest = hashlib.sha256()
        for batch in feed:
            for name in sorted(batch):
                digest.update(batch[name].tobytes())
        print(digest.hexdigest())
"""


def test_another_process_gets_the_same_batches_bit_for_bit(telemetry, home, names):
    import hashlib

    feed = telemetry.feed(spec(), shard=(1, 2))
    time, inc = feed.state_dict()["as_of"]
    own = []
    for _ in range(2):
        digest = hashlib.sha256()
        for batch in feed:
            for name in sorted(batch):
                digest.update(batch[name].tobytes())
        own.append(digest.hexdigest())
    arguments = [str(home), names["database"], names["state"], str(time), str(inc), "1"]
    found = subprocess.run([sys.executable, "-c", OTHER, *arguments], capture_output=True, text=True, check=True)
    assert found.stdout.split() == own


def test_writers_at_work_change_nothing_of_two_epochs(telemetry):
    feeds = [telemetry.feed(spec(batch_size=100), as_of=None, shard=(0, 1))]
    as_of = Timestamp(*feeds[0].state_dict()["as_of"])
    feeds = [telemetry.feed(spec(batch_size=100), as_of=as_of, shard=(rank, 2)) for rank in range(2)]
    done = threading.Event()

    def write(number):
        rows = telemetry.db["rows"]
        for i in range(100_000):
            if done.is_set():
                return
            rows.insert_one(
                {"_id": {"unit": i % 7, "t": 10_000 * (1 + number) + i}, "unit": i % 7, "t": 10_000 + i, "air": 0.5}
            )
            rows.update_one({"_id": {"unit": i % 7, "t": i}}, {"$set": {"air": -1.0}})
            if i % 5 == 0:
                rows.delete_one({"_id": {"unit": i % 7, "t": 2999 - i}})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(2):
            found = [tuple(row) for feed in feeds for batch in feed for row in batch["x"].tolist()]
            assert sorted(found) == [(float(i), i / 8) for i in range(3000)]
    finally:
        done.set()
        for writer in writers:
            writer.join()


def test_inserts_stay_out_when_the_server_no_longer_has_the_cutoff(telemetry):
    feed = telemetry.feed(spec(), cache=False)
    telemetry.db["rows"].insert_many(
        [{"_id": {"unit": i % 7, "t": 5000 + i}, "unit": "odd", "air": [1]} for i in range(900)]
    )
    cutoff = feed._family.binding.cutoff
    assert cutoff.way == "history"
    cutoff.give_up("history", DatabaseError("over"))
    assert sorted(feed.to_numpy()["x"][:, 0]) == list(range(3000))
    assert cutoff.way == "stream"


@pytest.mark.parametrize(
    "stages",
    [
        [
            {"$redact": {"$cond": [{"$gte": ["$air", 0]}, "$$DESCEND", "$$PRUNE"]}}
        ],  # it prunes an _id that is a document
        [{"$set": {"v": "$t"}}, {"$project": {"_id": 1}}, {"$project": {"t": "$_id.t", "air": "$_id.unit", "_id": 0}}],
        [{"$project": {"mode": 0}}, {"$project": {"m": {"x": 0}}}, {"$unset": "_id"}],
        [{"$replaceWith": {"t": "$t", "air": "$air"}}, {"$set": {"_id": 1}}],
        [{"$set": {"l": [1, 2]}}, {"$unset": "_id"}, {"$unwind": "$l"}, {"$set": {"air": "$l"}}],
    ],
    ids=["redact", "project", "exclude", "replace", "unwind"],
)
def test_inserts_stay_out_of_a_pipeline_that_loses_the_id(telemetry, stages):
    wanted = names_of(arrays(rows_of(telemetry.db["rows"], stages), ["t", "air"]))
    feed = telemetry.feed("rows", pipeline=stages, inputs=["t", "air"], cache=False)
    late = [{"_id": {"unit": i % 7, "t": 5000 + i}, "unit": i % 7, "t": 5000 + i, "air": 1.0} for i in range(300)]
    telemetry.db["rows"].insert_many(late)
    cutoff = feed._family.binding.cutoff
    assert cutoff.way == "history"
    cutoff.give_up("history", DatabaseError("over"))
    assert names_of(samples_of(list(feed))) == wanted


def test_ranks_whose_cutoff_is_no_longer_had_agree_on_chunks(telemetry):
    as_of = Timestamp(*telemetry.feed("rows").state_dict()["as_of"])
    feeds = []
    for rank in range(2):
        feed = telemetry.feed(spec(shuffle=False), as_of=as_of, shard=(rank, 2), cache=False)
        cutoff = feed._family.binding.cutoff
        assert cutoff.way == "history"
        cutoff.give_up("history", DatabaseError("over"))
        feeds.append(feed)
    found = []
    for feed, base in zip(feeds, (-5000, -9000), strict=True):
        telemetry.db["rows"].insert_many(
            [{"_id": {"unit": 0, "t": base + i}, "unit": 0, "t": base + i} for i in range(333)]
        )
        found += [int(t) for batch in feed for t in batch["x"][:, 0]]
    assert sorted(found) == list(range(3000))


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust"])
def test_a_scale_is_that_of_the_reference_s_train_part(telemetry, scale):
    split = nm.Split(by="t", test=0.3)
    rows = [row for row in rows_of(telemetry.db["rows"]) if part_of(split, row) == "train"]
    x = np.array([[row["t"], row["air"]] for row in rows], np.float64)
    centre, spread = {
        "standard": (x.mean(0), x.std(0)),
        "minmax": (x.min(0), np.ptp(x, 0)),
        "robust": (np.median(x, 0), np.percentile(x, 75, 0) - np.percentile(x, 25, 0)),
    }[scale]
    found = telemetry.feed(spec(split=split, scale=scale, shuffle=False), shard=(0, 1)).train.to_numpy()["x"]
    np.testing.assert_allclose(found, (x - centre) / spread, atol=2e-3)


def test_texts_are_categories_of_the_train_part_and_weights_go_with_their_rows(telemetry):
    found = telemetry.feed(spec(inputs=["t", "mode"], weight="air", split=nm.Split(test=0.5))).train.to_numpy()
    assert (found["x"][:, 1] == found["x"][:, 0] % 3).all()
    assert (found["weight"] == found["x"][:, 0] / 8).all()


def test_a_view_is_fed_as_its_pipeline_says(telemetry):
    telemetry.db.command(
        "create", "warm", viewOn="rows", pipeline=[{"$match": {"air": {"$gte": 100}}}, {"$unset": "_id"}]
    )
    given = [
        batch
        for rank in range(3)
        for batch in telemetry.feed("warm", inputs=["t", "air"], shard=(rank, 3), shuffle=True)
    ]
    assert names_of(samples_of(given)) == names_of(arrays(rows_of(telemetry.db["warm"]), ["t", "air"]))


def test_a_time_series_collection_yields_each_row_once(hub):
    hub.db.create_collection("series", timeseries={"timeField": "t", "metaField": "unit"})
    start = datetime(2024, 1, 1)
    hub.db["series"].insert_many([{"t": start + timedelta(seconds=i // 3), "unit": i % 3, "n": i} for i in range(1000)])
    feeds = [
        hub.feed("series", inputs=["n", "unit"], shard=(rank, 2), shuffle=True, batch_size=32, cache=cache)
        for rank in range(2)
        for cache in (True, False)
    ]
    given = [list(feed) for feed in feeds]
    assert sorted(one["x"][0] for one in samples_of(given[0] + given[2])) == list(range(1000))
    assert [batch["x"].tolist() for batch in given[0]] == [batch["x"].tolist() for batch in given[1]]


def test_huge_documents_among_small_ones(hub):
    rows = [{"_id": i, "n": i, "blob": b"x" * (5_000_000 if i in (3, 150, 151, 280) else 10)} for i in range(300)]
    hub.db["rows"].insert_many(rows)
    given = [batch for rank in range(2) for batch in hub.feed("rows", inputs="n", shard=(rank, 2), shuffle=True)]
    assert sorted(one["x"][0] for one in samples_of(given)) == list(range(300))


@pytest.mark.parametrize("kind", ["uuid", "decimal", "date", "mixed"])
def test_a_split_by_any_id_keeps_rows_where_they_are(hub, kind):
    import uuid

    from bson import Binary, Decimal128, ObjectId

    makers = {
        "uuid": [lambda i: Binary.from_uuid(uuid.UUID(int=i))],
        "decimal": [lambda i: Decimal128(f"{i}.5")],
        "date": [lambda i: datetime(2024, 1, 1) + timedelta(seconds=i)],
        "mixed": [
            lambda i: i,
            lambda i: f"r{i}",
            lambda i: Decimal128(f"{i}.5"),
            lambda i: ObjectId(f"{i:024x}"),
            lambda i: {"k": i},
        ],
    }[kind]
    rows = [{"_id": None if i == 7 and kind == "mixed" else makers[i % len(makers)](i), "n": i} for i in range(400)]
    hub.db["rows"].insert_many(rows)
    split = nm.Split(test=0.4)
    found = hub.feed("rows", inputs="n", split=split).test.to_numpy()["x"][:, 0]
    assert sorted(found) == [row["n"] for row in rows if part_of(split, row) == "test"]


@pytest.mark.parametrize(
    "match",
    [
        {"site": 3},
        {"site": 3, "t": {"$gte": 100}},
        {"site": {"$in": [3, 4]}},
        {"$or": [{"site": 3}, {"t": 5}]},
        {"site": 3, "t": 7},
    ],
)
@pytest.mark.parametrize("index", [("site",), ("site", "t"), ("t",)])
def test_a_selective_pipeline_on_an_index(hub, match, index):
    hub.db["rows"].insert_many([{"_id": i, "site": i % 5, "t": i % 400, "n": i} for i in range(3000)])
    hub.db["rows"].create_index([(name, 1) for name in index])
    stages = [{"$match": match}, {"$set": {"n": {"$add": ["$n", 1]}}}]
    given = [
        batch
        for rank in range(2)
        for batch in hub.feed("rows", pipeline=stages, inputs="n", shard=(rank, 2), shuffle=True)
    ]
    assert names_of(samples_of(given)) == names_of(arrays(rows_of(hub.db["rows"], stages), ["n"]))


def test_a_state_goes_on_through_json_on_other_numbers_of_ranks(telemetry):
    state, found = None, []
    for world, even, steps in ((2, True, 3), (3, False, 4), (1, True, 5), (4, True, 2), (2, False, 1000)):
        states = []
        for rank in range(world):
            feed = telemetry.feed(spec(), shard=(rank, world), even=even)
            if state is not None:
                feed.load_state_dict(json.loads(state))
            epoch = iter(feed)
            for _ in range(steps):
                batch = next(epoch, None)
                if batch is None:
                    break
                found += batch["x"][:, 0].tolist()
                states.append(json.dumps(feed.state_dict(), sort_keys=True))
        state = states[-1]
        assert len(state) < 1000
    assert sorted(found) == list(range(3000))
