"""A collection as it was, while servers come and go, forget, lag behind, and let users do little."""

from __future__ import annotations

import threading
import time
from contextlib import closing, contextmanager

import bson
import pymongo
import pytest
from bson import Timestamp
from pymongo.read_preferences import Secondary, SecondaryPreferred

from nemesyst.database import STAMP, Connection
from nemesyst.database.cutoff import Cutoff, Reread, as_time, present_time
from nemesyst.errors import DatabaseError, UnreachableError

from .servers import Node, ReplicaSet, add_user, key_file, running, until

pytestmark = pytest.mark.slow

PATIENCE = 40  # s; a limit, never waited for
SORTED = {"filter": {}, "sort": {"_id": 1}}
WAYS = ["history", "stream", "stamp"]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A set of three members."""
    folder = tmp_path_factory.mktemp("trio")
    nodes = [Node(folder / str(n), "--replSet", "rs", "--oplogSize", 200) for n in range(3)]
    with running(*nodes):
        yield ReplicaSet(*nodes)


@pytest.fixture
def trio(started):
    """The set with all of its members up."""
    started.settle()
    return started


@contextmanager
def connected(address, **options):
    with closing(Connection(address, timeout=PATIENCE, options=options)) as connection:
        yield connection


def put(connection, ids, **fields):
    connection.client.data.rows.insert_many([{"_id": i, STAMP: Timestamp(0, 0), **fields} for i in ids])


def fresh(connection, *ids, **fields):
    """A collection with rows of its own."""
    connection.client.data.rows.drop()
    put(connection, *ids, **fields)


def forced(cutoff, way):
    """The same cutoff after the ways before ``way`` are over."""
    cutoff.catch_up()
    for before in WAYS[: WAYS.index(way)]:
        cutoff.give_up(before, DatabaseError("over"))
    return cutoff


def documents(batch):
    return list(bson.decode(batch).values())


def ids_of(cutoff, **command):
    with cutoff.read(find=SORTED, **command) as read:
        found = [row["_id"] for batch in read for row in documents(batch)]
    return [identity for identity in found if identity not in read.excluded]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("preference", [None, SecondaryPreferred()])
def test_a_read_goes_on_when_the_member_that_it_reads_dies(trio, way, preference):
    with connected(trio.address) as connection:
        fresh(connection, range(20_000), pad="x" * 200)
        cutoff = Cutoff(connection, "data", "rows", present_time(connection), read_preference=preference)
        put(connection, range(20_000, 20_500))
        with closing(forced(cutoff, way)), cutoff.read(find=SORTED, batch_bytes=50_000) as read:
            found = []
            for number, batch in enumerate(read):
                found += [row["_id"] for row in documents(batch)]
                if number == 3:
                    (host, port) = read._reader._reading.cursor._pin.address
                    (member,) = (node for node in trio.nodes if node.host == f"{host}:{port}")
                    member.kill()
            assert read.retries
            assert [i for i in found if i not in read.excluded] == list(range(20_000))


@pytest.mark.parametrize("way", WAYS)
def test_reads_of_chunks_go_on_through_a_failover_and_writes(trio, way):
    stop = threading.Event()
    with connected(trio.address) as connection:
        fresh(connection, range(5000))
        with closing(Cutoff(connection, "data", "rows", present_time(connection))) as cutoff:
            forced(cutoff, way)

            def write():
                new = 5000
                while not stop.is_set():
                    try:
                        put(connection, [new])
                    except pymongo.errors.PyMongoError:
                        time.sleep(0.01)
                    new += 1

            writer = threading.Thread(target=write)
            writer.start()
            try:
                for turn in range(20):
                    assert ids_of(cutoff, batch_bytes=20_000) == list(range(5000))
                    if turn == 5:
                        trio.primary.kill()
            finally:
                stop.set()
                writer.join()


def tagged_alone(connection, trio):
    """One follower, and a read preference for it alone, from which nobody else replicates."""
    follower = next(node for node in trio.nodes if node.follows())
    tagged = connection.client.admin.command("replSetGetConfig")["config"]
    for number, member in enumerate(tagged["members"]):
        member["tags"] = {"name": str(number)}
    tagged["settings"]["chainingAllowed"] = False
    tagged["version"] += 1
    connection.client.admin.command("replSetReconfig", tagged)
    return follower, Secondary([{"name": str(trio.nodes.index(follower))}])


@contextmanager
def held_up(follower):
    """Within, the follower applies nothing; what is yielded lets it go on a second later."""
    with follower.client() as direct:
        direct.admin.command("fsync", lock=True)
        release = threading.Timer(1.0, lambda: direct.admin.command("fsyncUnlock"))
        try:
            yield release.start
        finally:
            release.join()


@pytest.mark.parametrize("way", WAYS)
def test_a_secondary_is_read_at_the_cutoff_though_it_lags(trio, way):
    """Replication to one member is held up; what was acknowledged by the others is waited for."""
    with connected(trio.address) as connection:
        fresh(connection, range(10))
        follower, preference = tagged_alone(connection, trio)
        with held_up(follower) as release:
            put(connection, range(10, 20))
            cutoff = Cutoff(connection, "data", "rows", present_time(connection), read_preference=preference)
            put(connection, range(20, 30))
            for before in WAYS[: WAYS.index(way)]:
                cutoff.give_up(before, DatabaseError("over")) if cutoff.way else None
            release()
            with closing(cutoff):
                assert ids_of(cutoff) == list(range(20))


@pytest.mark.parametrize("way", WAYS)
def test_a_secondary_that_has_not_heard_of_the_collection_is_waited_for(trio, way):
    with connected(trio.address) as connection:
        fresh(connection, range(10))
        follower, preference = tagged_alone(connection, trio)
        connection.client.data.rows.drop()
        with follower.client() as direct:
            until(lambda: "rows" not in direct.data.list_collection_names())
        with held_up(follower) as release:
            put(connection, range(20))
            cutoff = Cutoff(connection, "data", "rows", present_time(connection), read_preference=preference)
            for before in WAYS[: WAYS.index(way)]:
                cutoff.give_up(before, DatabaseError("over")) if cutoff.way else None
            release()
            with closing(cutoff):
                assert ids_of(cutoff) == list(range(20))


def test_the_present_is_known_again_after_a_failover(trio):
    with connected(trio.address) as connection:
        fresh(connection, range(10))
        trio.primary.kill()
        put(connection, [10])
        assert connection.client.data.rows.find_one({"_id": 10})[STAMP] < present_time(connection)


def test_a_secondary_that_the_address_names_alone_gives_its_own_time(trio):
    with connected(trio.address) as connection:
        fresh(connection, range(10))
        until(lambda: len(connection.client.secondaries) == 2)
    follower = next(node for node in trio.nodes if node.follows())
    until(lambda: len(list(follower.client().data.rows.find())) == 10)
    with connected(f"mongodb://{follower.host}/?directConnection=true&readPreference=secondary") as connection:
        moment = present_time(connection)
        with closing(Cutoff(connection, "data", "rows", moment)) as cutoff:
            assert ids_of(cutoff) == list(range(10))


def test_nobody_who_answers_is_told_in_bounded_time(trio):
    with connected(trio.address, serverSelectionTimeoutMS=500) as connection:
        fresh(connection, range(10))
        cutoff = Cutoff(connection, "data", "rows", present_time(connection), patience=1)
        assert ids_of(cutoff) == list(range(10))
        for node in trio.nodes:
            node.kill()
        with pytest.raises(UnreachableError, match=r"data\.rows: no answer from the database"):
            ids_of(cutoff)
        with pytest.raises(UnreachableError, match="asking the database for its time"):
            present_time(connection, patience=1)


@pytest.fixture
def forgetful(tmp_path):
    """A set of one member with a small oplog and a short history; gives the member and a connection."""
    options = ["--replSet", "rs", "--oplogSize", 10, "--syncdelay", 1]
    options += ["--setParameter", "minSnapshotHistoryWindowInSeconds=1"]
    node = Node(tmp_path / "node", *options)
    with running(node), connected(ReplicaSet(node).address) as connection:
        yield connection


def forget_history(connection, cutoff):
    """Write until the server cannot read at the cutoff any more."""
    rows, other = connection.client.data.rows, connection.client.data.other
    concern = {"level": "snapshot", "atClusterTime": cutoff.time}

    def over():
        other.insert_one({})
        try:
            rows.database.command({"find": "rows", "readConcern": concern})
        except pymongo.errors.OperationFailure as error:
            return error.code in (239, 246)
        return False

    until(over)


def forget_oplog(connection, cutoff):
    """Write until the oplog begins after the cutoff."""
    oplog, other = connection.client.local["oplog.rs"], connection.client.data.other

    def over():
        other.insert_many([{"pad": bytes(1 << 20)} for _ in range(8)])
        return oplog.find_one(sort=[("$natural", 1)])["ts"] > cutoff.time

    until(over)


def test_one_cutoff_is_read_in_all_three_ways_as_the_server_forgets(forgetful):
    connection = forgetful
    put(connection, range(1000))
    client = connection.client
    with client.start_session() as session, session.start_transaction():
        client.data.rows.insert_one({"_id": 5000, STAMP: Timestamp(0, 0)}, session=session)
        moment = present_time(connection, fresh=True)
    ways = []
    with closing(Cutoff(connection, "data", "rows", moment)) as cutoff:
        for forget in (lambda *_: None, forget_history, forget_oplog):
            put(connection, range(1000 + 100 * len(ways), 1100 + 100 * len(ways)))
            forget(connection, cutoff)
            if len(ways) == 2:
                cutoff.close()  # a stream that is open would hold on to its place
            assert ids_of(cutoff) == list(range(1000))
            ways.append(cutoff.way)
        assert ways == WAYS
        again = Cutoff.from_dict(connection, cutoff.as_dict())
    with closing(again):
        assert ids_of(again) == list(range(1000))
        assert again.changes().until is None


def test_a_snapshot_that_dies_half_read_is_read_again(forgetful):
    connection = forgetful
    put(connection, range(1000))
    with closing(Cutoff(connection, "data", "rows", present_time(connection))) as cutoff:
        seen = []
        for _ in range(2):
            read = cutoff.read(find=SORTED, first_rows=10, batch_bytes=1000)
            batches = iter(read)
            seen.append(len(documents(next(batches))))
            forget_history(connection, read)
            with pytest.raises(Reread, match="must be read again"):
                list(batches)
            put(connection, [1000 + len(seen)])
        assert cutoff.way == "stream"
        batches = cutoff.read(find=SORTED, first_rows=10, batch_bytes=1000)
        assert [len(documents(batch)) for batch in batches] == [1002]  # whole, from a server that keeps no history
        assert ids_of(cutoff) == list(range(1000))


def test_a_moment_long_ago_is_told_by_stamps(forgetful):
    connection = forgetful
    put(connection, range(10))
    then = as_time(None, connection)
    put(connection, range(10, 20))
    cutoff = Cutoff(connection, "data", "rows", then)
    forget_history(connection, cutoff)
    forget_oplog(connection, cutoff)
    with closing(cutoff):
        assert ids_of(cutoff) == list(range(10))
        assert cutoff.way == "stamp"


def test_a_standalone_server_is_read_as_it_is(tmp_path):
    node = Node(tmp_path / "node")
    with running(node), connected(f"mongodb://{node.host}/") as connection:
        put(connection, range(10))
        with closing(Cutoff(connection, "data", "rows", as_time(None, connection))) as cutoff:
            put(connection, range(10, 20))
            assert ids_of(cutoff) == list(range(20))
            assert (cutoff.way, cutoff.changes().until) == ("plain", None)


def test_a_user_who_may_only_read_one_database_is_enough(tmp_path):
    folder = tmp_path / "users"
    folder.mkdir()
    access = {"username": "root", "password": "root"}
    node = Node(folder / "node", "--replSet", "rs", "--keyFile", key_file(folder))
    with running(node):
        address = ReplicaSet(node).address
        until(node.leads)
        with node.client() as local:
            add_user(local, "root", "root", ("root", "admin"))
        with connected(address, **access) as root:
            put(root, range(10))
            add_user(root.client, "reader", "reader", ("read", "data"))
        with connected(address, username="reader", password="reader") as connection:
            for way in WAYS:
                moment = present_time(connection, "data")
                assert present_time(connection) >= moment  # of another database: by the primary's word
                with closing(Cutoff(connection, "data", "rows", moment)) as cutoff:
                    assert ids_of(forced(cutoff, way)) == list(range(10))
