"""A replica set of three: reading from secondaries, and what becomes of work when the primary is killed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from pymongo.monitoring import CommandListener

import nemesyst as nm
from nemesyst.errors import UnreachableError

from .servers import Node, ReplicaSet, running, until

pytestmark = pytest.mark.slow

ROWS = 50_000


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Three nodes as one replica set."""
    folder = tmp_path_factory.mktemp("trio")
    nodes = [Node(folder / str(n), "--replSet", "rs", "--oplogSize", "200") for n in range(3)]
    with running(*nodes):
        yield ReplicaSet(*nodes)


@pytest.fixture
def trio(started):
    """The replica set with all of its nodes up."""
    started.settle()
    return started


@pytest.fixture
def hub(trio, names):
    with nm.connect(trio.address, **names) as hub:
        yield hub


class Commands(CommandListener):
    """Notes where commands of a kind on a collection went."""

    def __init__(self, collection, *names):
        self.collection, self.names, self.places = collection, names, set()

    def started(self, event):
        on = event.command.get("collection", event.command.get(event.command_name))
        if event.command_name in self.names and on == self.collection:
            self.places.add("{}:{}".format(*event.connection_id))

    def succeeded(self, event):
        """Nothing to note."""

    failed = succeeded


def killing(trio, rows, at):
    """Rows, between two of which the primary is killed."""
    for i, row in enumerate(rows):
        if i == at:
            trio.primary.kill()
        yield row


def test_rows_are_read_from_a_secondary_where_that_is_preferred(trio, hub, names):
    hub.put("rows", ({"x": i} for i in range(1000)))
    seen = Commands("rows", "aggregate", "getMore", "find")  # a feed's time and plan are asked of the primary
    for node in trio.nodes:  # a majority has them; a third member may come later
        with node.client() as client:
            until(lambda client=client: client[names["database"]].rows.count_documents({}) == 1000)
    with nm.connect(trio.address, readPreference="secondary", event_listeners=[seen], **names) as other:
        assert sum(len(batch["x"]) for batch in other.feed("rows", inputs="x")) == 1000
    assert seen.places
    assert trio.primary.host not in seen.places


def test_models_are_kept_where_rows_are_read_from_a_secondary(trio, names):
    with nm.connect(trio.address, readPreference="secondary", **names) as hub:
        for number in range(1, 11):
            assert hub.models.save({"w": np.full(50_000, number)}, "air").number == number
            assert hub.models.promote("air@latest", "champion").number == number
            assert hub.models.load("air@champion")["w"][0] == number


def test_records_are_put_where_rows_are_read_from_a_secondary(trio, names):
    with nm.connect(trio.address, readPreference="secondary", **names) as hub:
        for start in range(0, 1000, 100):
            report = hub.put("rows", [{"n": start + i} for i in range(200)], key="n")
            assert (report.stored, report.unchanged) == ((200, 0) if not start else (100, 100))


def test_reading_goes_on_while_there_is_no_primary(trio, hub, names):
    hub.put("rows", [{"x": 1.0}])
    hub.models.save({"w": np.zeros(3)}, "air")
    trio.primary.kill()
    trio.primary.kill()
    with nm.connect(trio.address, readPreference="secondaryPreferred", **names) as alone:
        assert alone.db.rows.count_documents({}) == 1
        assert alone.models.load("air")["w"].shape == (3,)


@pytest.mark.parametrize("key", [None, "n"])
@pytest.mark.parametrize("at", [20_050, 40_050])
def test_rows_that_are_put_while_the_primary_is_killed_are_there_once(trio, hub, key, at):
    report = hub.put("rows", killing(trio, ({"n": i, "x": float(i)} for i in range(ROWS)), at), key=key)
    assert (report.stored, report.unchanged, report.rejected) == (ROWS, 0, 0)
    assert sorted(row["n"] for row in hub.db.rows.find({}, {"n": 1})) == list(range(ROWS))


def test_rows_that_are_replaced_while_the_primary_is_killed(trio, hub):
    hub.put("rows", ({"n": i, "x": 0} for i in range(10_000)), key="n")
    rows = killing(trio, ({"n": i, "x": 1} for i in range(10_000)), 5_000)
    hub.put("rows", rows, key="n", on_conflict="replace")
    assert hub.db.rows.count_documents({"x": 1}) == 10_000


@pytest.mark.parametrize("size", [10, 200_000])
def test_models_that_are_saved_while_the_primary_is_killed_are_whole_or_not_there(trio, hub, size):
    saved, first = [], threading.Event()

    def kill():
        first.wait()
        trio.primary.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    while len(saved) < 40:
        try:
            version = hub.models.save({"w": np.full(size, len(saved))}, "air")
            saved.append((version.number, len(saved)))
            hub.models.promote(version.ref, "champion")
        except UnreachableError:
            pass  # said clearly; it may be saved or not
        first.set()
    killer.join()
    numbers = [version.number for version in hub.models.list("air")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {number: hub.models.load(f"air@{number}")["w"][0] for number, _ in saved} == dict(saved)
    assert all(hub.models.load(f"air@{number}")["w"].shape == (size,) for number in numbers)
    moves = hub.models.history("air@champion")
    assert [move.number for move in moves] == list(range(1, len(moves) + 1))


def test_an_epoch_in_which_the_primary_is_killed_is_whole_or_ends_clearly(trio, hub):
    hub.put("rows", ({"x": i, "pad": "x" * 1000} for i in range(ROWS)))
    feed = hub.feed("rows", inputs="x", batch_size=1000)
    seen = []
    ended = None
    try:
        for batch in feed:
            seen += batch["x"].ravel().tolist()
            if len(seen) == 1000:
                trio.primary.kill()
    except UnreachableError as error:
        ended = str(error)
    assert sorted(seen) == list(range(ROWS)) if ended is None else f"reading {hub.db.name}.rows" in ended
    assert sum(len(batch["x"]) for batch in feed) == ROWS


def test_a_hub_can_be_opened_after_a_failover(trio, hub, names):
    hub.put("rows", [{"x": 1.0}])
    trio.primary.kill()
    until(trio.primary.leads)
    with nm.connect(trio.address, **names) as other:
        assert other.put("rows", [{"x": 2.0}]).stored == 1
    assert hub.db.rows.count_documents({}) == 2
