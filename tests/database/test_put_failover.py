"""A connection that breaks after the server has stored a batch, before its acknowledgement arrives."""

import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from nemesyst.database import Connection, put
from nemesyst.errors import UnreachableError

pytestmark = pytest.mark.slow


class Cutting:
    """A relay to a real server that hangs up on the first few messages that hold a word: after the server has
    done what they ask, or instead of passing them on."""

    def __init__(self, server, word, times, passing):
        self.server, self.word, self.times, self.passing = server, word, times, passing
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        with client, socket.create_connection(self.server) as server:
            while message := receive(client):
                cut = self.word in message and self.times > 0
                if not cut or self.passing:
                    server.sendall(message)
                    reply = receive(server)
                if cut:
                    self.times -= 1
                    return
                client.sendall(reply)


def receive(peer):
    """One whole message of MongoDB's wire protocol; empty when the peer has gone."""
    try:
        data = peer.recv(4, socket.MSG_WAITALL)
        return data + peer.recv(int.from_bytes(data, "little") - 4, socket.MSG_WAITALL) if data else b""
    except OSError:
        return b""


@pytest.fixture
def through(hub):
    """A connection to the hub's server through a relay that cuts."""

    @contextmanager
    def through(word, times, *, passing=True):
        client = hub.db.client
        user = client.options.pool_options._credentials
        relay = Cutting(client.address, word, times, passing)
        options = {"directConnection": True, "heartbeatFrequencyMS": 100_000}
        if user:
            options |= {"username": user.username, "password": user.password, "authSource": user.source}
        connection = Connection(f"mongodb://127.0.0.1:{relay.port}", timeout=5, options=options)
        try:
            yield connection
        finally:
            connection.close()
            relay.listener.close()

    return through


@pytest.mark.parametrize("key", [None, "n"])
@pytest.mark.parametrize("on_conflict", ["keep", "error"])
def test_a_batch_whose_acknowledgement_was_lost_is_stored_once_and_counted(hub, through, key, on_conflict):
    with through(b"\x02insert\x00", 3) as connection:
        records = ({"n": i} for i in range(500))
        report = put(connection, hub.db.name, "rows", records, key=key, on_conflict=on_conflict, batch_rows=100)
    assert (report.stored, report.unchanged) == (500, 0)
    assert hub.db.rows.count_documents({}) == 500


def test_rows_that_were_there_before_are_not_taken_for_ours(hub, through):
    put(hub._connection, hub.db.name, "rows", [{"n": i} for i in range(50)], key="n")
    with through(b"\x02insert\x00", 1) as connection:
        report = put(connection, hub.db.name, "rows", [{"n": i} for i in [*range(100), 99]], key="n")
    assert (report.stored, report.unchanged) == (50, 51)


def test_replacing_goes_on_after_a_lost_acknowledgement(hub, through):
    with through(b"\x02update\x00", 1) as connection:
        put(connection, hub.db.name, "rows", [{"n": i} for i in range(100)], key="n", on_conflict="replace")
    assert hub.db.rows.count_documents({}) == 100


def test_a_time_series_is_never_sent_twice(hub, through):
    hub.db.create_collection("series", timeseries={"timeField": "t"})
    with through(b"\x02insert\x00", 1) as connection, pytest.raises(UnreachableError, match="0 rows are stored"):
        put(connection, hub.db.name, "series", [{"t": datetime(2026, 1, 1, tzinfo=UTC)}])
    assert hub.db.series.count_documents({}) == 1


def test_a_database_that_stays_away_is_told_with_the_rows_that_are_stored(hub, through):
    with through(b"one too many", 10**6, passing=False) as connection:
        records = ({"n": i, "text": "one too many" if i >= 300 else ""} for i in range(500))
        with pytest.raises(UnreachableError, match=r"rows: no acknowledgement .*; 300 rows are stored"):
            put(connection, hub.db.name, "rows", records, batch_rows=100, patience=1.0)


def test_a_batch_that_is_half_there_and_lost_again_is_counted_once(hub, through):
    records = [{"n": i, "last": i == 99} for i in range(100)]
    hub.db.create_collection("rows", validator={"last": False})
    with through(b"\x02insert\x00", 3) as connection:
        report = put(connection, hub.db.name, "rows", records)
    assert (report.stored, report.rejected) == (99, 1)
    assert hub.db.rows.count_documents({}) == 99
