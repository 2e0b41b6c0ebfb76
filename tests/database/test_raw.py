"""Undecoded batches: the bytes are the driver's own, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.database import Connection
from nemesyst.database.raw import RawReader
from nemesyst.database.raw.reply import cut
from nemesyst.errors import AccessError, DatabaseError

from .servers import until

pytestmark = pytest.mark.slow

PATIENCE = 40  # s; a limit, never waited for


@pytest.fixture
def reader(hub):
    """Make readers of this test's database."""
    return lambda collection="rows", **options: RawReader(hub._connection, hub.db.name, collection, **options)


@pytest.fixture
def rows(hub):
    """5,000 small documents."""
    documents = [{"_id": i, "value": i / 7, "text": "x" * (i % 50)} for i in range(5000)]
    hub.db.rows.insert_many(documents)
    return documents


@pytest.fixture
def left_behind(hub):
    """What is there now that was not there before: open cursors of the server, threads of ours."""
    before = cursors(hub)
    return lambda: (cursors(hub) - before, [thread for thread in threading.enumerate() if "raw" in thread.name])


def cursors(hub):
    return hub.db.command("serverStatus")["metrics"]["cursor"]["open"]["total"]


def documents(array):
    """The documents of a BSON array, each as bytes; checks its keys."""
    raw = bson.decode(array, bson.CodecOptions(document_class=bson.raw_bson.RawBSONDocument))
    assert list(raw) == [str(n) for n in range(len(raw))]
    return [bytes(document.raw) for document in raw.values()]


def read(reader):
    return b"".join(document for array in reader for document in documents(array))


def by_driver(cursor):
    return b"".join(cursor)


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize(
    ("batch_bytes", "first_rows"), [(1, 1), (3000, 2), (100_000, 101), (1 << 20, 256), (1 << 24, 10**6)]
)
def test_the_bytes_are_the_drivers_for_any_size_of_batch(hub, rows, reader, batch_bytes, first_rows, ahead):
    found = read(reader(batch_bytes=batch_bytes, first_rows=first_rows, ahead=ahead))
    assert found == by_driver(hub.db.rows.find_raw_batches())


def test_batches_come_to_about_the_size_asked_for(rows, reader):
    sizes = [len(batch) for batch in reader(batch_bytes=20_000, first_rows=3)]
    assert sizes[0] < 300
    assert all(15_000 < size < 25_000 for size in sizes[2:-1])  # the first three documents are small ones


@pytest.mark.parametrize("options", [{"find": {"filter": {"value": -1}}}, {"stages": [{"$match": {"value": -1}}]}])
def test_nothing_is_yielded_where_nothing_is_found(rows, reader, left_behind, options):
    assert list(reader(**options)) == []
    assert left_behind() == (0, [])


def test_a_collection_that_is_not_there_is_empty(reader):
    assert list(reader("nowhere")) == []


def test_documents_of_16_mb_come_one_by_one(hub, reader):
    hub.db.rows.insert_many([{"_id": i, "data": os.urandom((16 << 20) - 100)} for i in range(3)])
    batches = list(reader())
    assert b"".join(documents(batches[0]) + documents(batches[1]) + documents(batches[2])) == by_driver(
        hub.db.rows.find_raw_batches()
    )


@pytest.mark.parametrize("first_rows", [2, 256])
def test_documents_of_all_sizes_come_mixed(hub, reader, first_rows):
    hub.db.rows.insert_many([{"data": os.urandom((i * 7919 % 97) ** 3)} for i in range(300)])
    assert read(reader(first_rows=first_rows)) == by_driver(hub.db.rows.find_raw_batches())


def test_a_find_takes_bounds_hint_sort_and_projection(hub, rows, reader):
    find = {
        "min": {"_id": 100},
        "max": {"_id": 4000},
        "hint": {"_id": 1},
        "sort": {"_id": -1},
        "projection": {"text": 0},
    }
    expected = hub.db.rows.find_raw_batches(sort={"_id": -1}, projection={"text": 0}).hint([("_id", 1)])
    expected = expected.min([("_id", 100)]).max([("_id", 4000)])
    assert read(reader(find=find, batch_bytes=9000)) == by_driver(expected)


def test_a_pipeline_is_run(hub, rows, reader):
    stages = [
        {"$match": {"_id": {"$gte": 10}}},
        {"$set": {"twice": {"$multiply": ["$value", 2]}}},
        {"$sort": {"text": 1, "_id": 1}},
    ]
    assert read(reader(stages=stages, batch_bytes=9000)) == by_driver(hub.db.rows.aggregate_raw_batches(stages))


def test_a_view_is_read(hub, rows, reader):
    hub.db.create_collection("seen", viewOn="rows", pipeline=[{"$match": {"_id": {"$mod": [3, 0]}}}])
    assert read(reader("seen", batch_bytes=9000)) == by_driver(hub.db.seen.find_raw_batches())
    stages = [{"$project": {"value": 1}}]
    assert read(reader("seen", stages=stages, batch_bytes=9000)) == by_driver(hub.db.seen.aggregate_raw_batches(stages))


def test_a_time_series_collection_is_read(hub, reader):
    hub.db.create_collection("series", timeseries={"timeField": "t", "metaField": "unit"})
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hub.db.series.insert_many([{"t": start + timedelta(minutes=i), "unit": i % 5, "air": i / 3} for i in range(3000)])
    assert read(reader("series", batch_bytes=9000)) == by_driver(hub.db.series.find_raw_batches())


def test_a_collection_with_a_dotted_name_is_read(hub, reader):
    hub.db["a.b.rows"].insert_many([{"_id": i} for i in range(1000)])
    assert read(reader("a.b.rows", batch_bytes=900)) == by_driver(hub.db["a.b.rows"].find_raw_batches())


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_break_leaves_nothing_behind(rows, reader, left_behind, ahead):
    for _ in reader(batch_bytes=3000, ahead=ahead):
        break
    assert left_behind() == (0, [])


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_exception_leaves_nothing_behind(rows, reader, left_behind, ahead):
    def fail(batch):
        raise KeyError

    with pytest.raises(KeyError):
        list(map(fail, reader(batch_bytes=3000, ahead=ahead)))
    assert left_behind() == (0, [])


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_reader_that_is_dropped_leaves_nothing_behind(rows, reader, left_behind, ahead):
    batches = iter(reader(batch_bytes=3000, ahead=ahead))
    next(batches)
    assert left_behind()[0] == 1
    del batches
    gc.collect()
    until(lambda: left_behind() == (0, []))


def test_a_reader_that_is_never_read_leaves_nothing_behind(rows, reader, left_behind):
    reader(ahead=2)
    gc.collect()
    until(lambda: left_behind() == (0, []))


def test_the_session_is_given_back(hub, rows, reader):
    def pooled():
        with hub._connection.client.start_session() as session:  # the pool gives the one that came back last
            return session.session_id

    before = pooled()
    for _ in range(5):
        for _ in reader(batch_bytes=3000, ahead=1):
            break
    assert pooled() == before


def test_close_ends_a_reply_that_the_thread_waits_for(hub, rows, reader, left_behind):
    slow = [
        {
            "$match": {
                "$expr": {
                    "$function": {
                        "body": "function(i) { if (i > 60) sleep(60000); return true }",
                        "args": ["$_id"],
                        "lang": "js",
                    }
                }
            }
        }
    ]
    with reader(stages=slow, first_rows=50, batch_bytes=5000, ahead=2, comment="slow") as batches:
        arrays = iter(batches)
        next(arrays)
        until(lambda: running(hub, "slow"))
    assert left_behind() == (0, [])
    until(lambda: not running(hub, "slow"))


def running(hub, comment):
    found = hub.db.client.admin.aggregate(
        [
            {"$currentOp": {"localOps": True}},
            {"$match": {"$or": [{"command.comment": comment}, {"cursor.originatingCommand.comment": comment}]}},
        ]
    )
    return [op for op in found if op["active"]]


def test_ctrl_c_before_the_first_reply_ends_the_work_on_the_server(hub, rows, reader, left_behind):
    slow = [
        {
            "$match": {
                "$expr": {"$function": {"body": "function() { sleep(60000); return true }", "args": [], "lang": "js"}}
            }
        }
    ]

    def interrupt():
        until(lambda: running(hub, "sorting"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(reader(stages=slow, comment="sorting"))
    thread.join()
    until(lambda: not running(hub, "sorting"))
    until(lambda: left_behind() == (0, []))


def test_a_reader_is_read_once(rows, reader):
    batches = reader()
    list(batches)
    with pytest.raises(RuntimeError, match="read once"):
        list(batches)


def test_stages_and_find_exclude_each_other(reader):
    with pytest.raises(ValueError, match="not both"):
        reader(stages=[{"$limit": 1}], find={"limit": 1})


def test_a_session_of_the_caller_stays_open(hub, rows, reader):
    with hub._connection.client.start_session() as session:
        read(reader(session=session, batch_bytes=9000))
        assert not session.has_ended
        assert read(reader(session=session)) == by_driver(hub.db.rows.find_raw_batches(session=session))


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_snapshot_tells_its_time_and_holds_while_rows_come(hub, rows, reader, ahead):
    expected = by_driver(hub.db.rows.find_raw_batches())
    with reader(read_concern={"level": "snapshot"}, batch_bytes=3000, ahead=ahead) as batches:
        arrays = iter(batches)
        found = documents(next(arrays))
        hub.db.rows.insert_many([{"late": True} for _ in range(100)])
        found += [document for array in arrays for document in documents(array)]
    assert b"".join(found) == expected
    assert read(reader(read_concern={"level": "snapshot", "atClusterTime": batches.time})) == expected


def test_readers_in_one_snapshot_session_see_the_same(hub, rows, reader):
    with hub._connection.client.start_session(snapshot=True) as session:
        first = read(reader(session=session, batch_bytes=9000))
        hub.db.rows.insert_many([{"late": True} for _ in range(100)])
        assert read(reader(session=session, batch_bytes=9000)) == first


def test_a_refused_pipeline_is_ours_to_tell(rows, reader):
    with pytest.raises(DatabaseError, match=r"reading data_\w+\.rows: the database refused: .*\$nonsense"):
        list(reader(stages=[{"$nonsense": 1}]))


def test_a_missing_right_is_told(home, hub, rows):
    hub.db.command("createUser", "nobody", pwd="x", roles=[])
    address = f"mongodb://127.0.0.1:{hub.db.client.address[1]}/?authSource={hub.db.name}"
    connection = Connection(address, timeout=10, options={"username": "nobody", "password": "x"})
    with closing(connection), pytest.raises(AccessError, match="lacks a right"):
        list(RawReader(connection, hub.db.name, "rows"))
    hub.db.command("dropUser", "nobody")


def test_a_cursor_that_the_server_dropped_is_told_with_a_remedy(hub, rows, reader):
    batches = iter(reader(batch_bytes=3000))
    next(batches)
    hub.db.rows.drop()
    with pytest.raises(DatabaseError, match="no longer has the cursor.*\n.*Read again"):
        list(batches)


def test_a_process_that_ends_without_closing_leaves_no_cursor(hub, home, rows):
    script = (
        "import sys, nemesyst as nm; from nemesyst.database.raw import RawReader;"
        "hub = nm.connect(home=sys.argv[1], database=sys.argv[2]);"
        "reader = RawReader(hub._connection, sys.argv[2], 'rows', batch_bytes=3000, ahead=int(sys.argv[3]));"
        "batches = iter(reader); next(batches)"
    )
    before = cursors(hub)
    for ahead in ("0", "2"):
        subprocess.run([sys.executable, "-c", script, home, hub.db.name, ahead], check=True, timeout=PATIENCE)
    assert cursors(hub) == before


def test_a_forked_child_leaves_the_cursor_to_its_parent(hub, rows, reader):
    batches = reader(batch_bytes=3000)
    arrays = iter(batches)
    found = documents(next(arrays))
    if not (child := os.fork()):
        batches.close()
        os._exit(0)
    os.waitpid(child, 0)
    found += [document for array in arrays for document in documents(array)]
    assert len(found) == len(rows)


@pytest.mark.core
@pytest.mark.parametrize(
    ("cursor", "why"),
    [
        ({"id": bson.Int64(1)}, "no batch"),
        ({"firstBatch": []}, "no cursor"),
        ({"x" * 70: 1}, "name is longer"),
        ({"a": bson.Regex("x")}, "element of type 11"),
    ],
)
def test_a_reply_of_another_kind_is_refused(cursor, why):
    with pytest.raises(DatabaseError, match=f"cannot be read: .*{why}"):
        cut(bson.encode(cursor))


@pytest.mark.core
def test_the_fields_of_a_reply_come_in_any_order():
    time = bson.Timestamp(7, 9)
    reply = cut(
        bson.encode({"partial": True, "atClusterTime": time, "ns": "a.b", "id": bson.Int64(5), "nextBatch": [{}]})
    )
    assert (reply.cursor, reply.namespace, reply.time) == (5, "a.b", time)
    assert documents(reply.batch) == [bson.encode({})]


@pytest.mark.core
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_a_damaged_reply_is_refused_or_read_but_never_breaks_the_reader(place, byte, end):
    whole = bytearray(
        bson.encode({"firstBatch": [{"a": 1}], "atClusterTime": bson.Timestamp(1, 2), "id": bson.Int64(5), "ns": "a.b"})
    )
    whole[place % len(whole)] = byte
    with suppress(DatabaseError):
        assert len(cut(bytes(whole[: len(whole) - end % 30])).batch) >= 5
