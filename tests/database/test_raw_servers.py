"""Undecoded batches while servers come and go: one member per cursor, and no waiting for the dead."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing

import bson
import pymongo
import pytest

from nemesyst.database import Connection
from nemesyst.database.embedded import open_embedded, status
from nemesyst.database.raw import RawReader
from nemesyst.errors import DatabaseError, UnreachableError

from .servers import Node, ReplicaSet, until
from .servers import running as running_nodes

pytestmark = pytest.mark.slow


PATIENCE = 40  # s; a limit, never waited for


def documents(batch):
    """The documents of a batch."""
    return list(bson.decode(batch).values())


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_killed_server_is_told_at_once(place, ahead):
    with open_embedded(place.folder) as server:
        options = {"username": server.username, "password": server.password}
        with closing(Connection(server.uri, timeout=20, options=options)) as connection:
            connection.client.data.rows.insert_many([{"x": "y" * 1000} for _ in range(5000)])
            batches = iter(RawReader(connection, "data", "rows", batch_bytes=20_000, ahead=ahead))
            next(batches)
            os.kill(status(place.folder).pid, signal.SIGKILL)
            start = time.monotonic()
            with pytest.raises((UnreachableError, DatabaseError), match=r"no answer from the database|no longer has"):
                list(batches)
            assert time.monotonic() - start < PATIENCE
    assert not [thread for thread in threading.enumerate() if "raw" in thread.name]


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """A set of three members."""
    nodes = [Node(tmp_path_factory.mktemp("set") / "node", "--replSet", "rs", "--oplogSize", 50) for _ in range(3)]
    with running_nodes(*nodes):
        yield ReplicaSet(*nodes)


class Sent(pymongo.monitoring.CommandListener):
    """Which member each getMore went to."""

    def __init__(self):
        self.members = []

    def started(self, event):
        if event.command_name == "getMore" and event.database_name == "data":
            self.members.append(event.connection_id)

    def succeeded(self, event):
        pass

    failed = succeeded


@pytest.fixture
def secondaries(replica):
    """A connection that reads from both of the secondaries, with 3,000 rows; and what it has sent."""
    sent = Sent()
    options = {"readPreference": "secondaryPreferred", "event_listeners": [sent], "localThresholdMS": 1000}
    with closing(Connection(replica.address, timeout=PATIENCE, options=options)) as connection:
        data = connection.client.get_database("data", write_concern=pymongo.WriteConcern(w=3))
        data.rows.drop()
        data.rows.insert_many([{"_id": i} for i in range(3000)])
        until(lambda: len(connection.client.secondaries) == 2)
        yield connection, sent


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 2])
def test_all_of_a_cursor_is_read_from_one_member_of_a_set(secondaries, ahead):
    connection, sent = secondaries
    used = set()
    for _ in range(12):
        sent.members.clear()
        batches = RawReader(connection, "data", "rows", batch_bytes=3000, ahead=ahead)
        assert sum(len(documents(batch)) for batch in batches) == 3000
        assert len(sent.members) > 10
        assert len(set(sent.members)) == 1
        used.update(sent.members)
    assert used == connection.client.secondaries


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 2])
def test_a_member_that_dies_is_told_in_bounded_time(replica, secondaries, ahead):
    connection, sent = secondaries
    batches = iter(RawReader(connection, "data", "rows", batch_bytes=3000, first_rows=100, ahead=ahead))
    next(batches)
    next(batches)
    (member,) = (node for node in replica.nodes if node.port == sent.members[0][1])
    member.kill()
    until(lambda: len(connection.client.nodes) == 2)  # the driver knows
    start = time.monotonic()
    with pytest.raises(UnreachableError, match=r"reading data.rows: no answer from the database"):
        list(batches)
    assert time.monotonic() - start < 20  # s; the driver alone would look for the member for 30
    replica.settle()


@pytest.mark.slow
def test_an_election_does_not_end_a_cursor(replica):
    with closing(Connection(replica.address, timeout=PATIENCE)) as connection:
        data = connection.client.get_database("data", write_concern=pymongo.WriteConcern(w=3))
        data.more.drop()
        data.more.insert_many([{"_id": i} for i in range(3000)])
        batches = iter(RawReader(connection, "data", "more", batch_bytes=3000))
        found = documents(next(batches))
        primary = connection.client.address
        connection.client.admin.command("replSetStepDown", 10, force=True)
        until(lambda: connection.client.primary not in (None, primary))
        found += [document for batch in batches for document in documents(batch)]
        assert len(found) == 3000
