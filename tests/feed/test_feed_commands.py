"""How often the server is asked before there is a batch: counted, as each time costs a round trip."""

from __future__ import annotations

import pytest
from bson import ObjectId
from pymongo import monitoring

import nemesyst as nm
from nemesyst.database import RawReader
from nemesyst.feed.plan import Bounds, Key

pytestmark = pytest.mark.core


class Commands(monitoring.CommandListener):
    """Notes the commands that a client sends."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        if not event.command_name.startswith("sasl"):  # another connection logs in
            self.sent.append((event.database_name, event.command_name))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass

    def since(self):
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def listened(hub, home, names):
    """A hub beside the one that drops the databases, and the commands that it sends."""
    assert hub.db.name == names["database"]
    commands = Commands()
    with nm.connect(home=home, **names, event_listeners=[commands]) as other:
        yield other, commands


def fill(hub, rows, **options):
    hub.put("rows", ({"a": i, "b": i / 2, "g": i % 3} for i in range(rows)), **options)


@pytest.mark.parametrize("options", [{}, {"key": ("a",)}], ids=["by _id", "clustered"])
def test_a_new_feed_is_bound_by_six_commands_and_has_its_first_rows(listened, options):
    hub, commands = listened
    fill(hub, 700, **options)
    commands.since()
    feed = hub.feed("rows", inputs=["a", "b"], cache=False)
    assert len(commands.since()) <= 6
    assert sum(len(batch["x"]) for batch in feed) == 700
    assert [name for database, name in commands.since() if database == hub.db.name] == []


def test_the_first_chunks_are_those_that_other_processes_find(listened):
    hub, _ = listened
    fill(hub, 3000)
    feed = hub.feed("rows", inputs=["a", "b"], cache=False)
    bounds = feed._family.binding.chunks.source.rows.bounds
    walked = Bounds(Key(), bounds.most, lambda find: iter(RawReader(hub._connection, hub.db.name, "rows", find=find)))
    assert bounds.all() == walked.all()
    assert feed.to_numpy()["x"][:, 0].tolist() == list(range(3000))


def test_a_match_costs_three_commands_more(listened):
    hub, commands = listened
    fill(hub, 700)
    commands.since()
    hub.feed("rows", pipeline=[{"$match": {"g": 1}}], inputs=["a", "b"], cache=False)
    assert len(commands.since()) <= 9  # the server plans it and its match, and is asked for indexes


def test_a_known_plan_is_bound_without_a_look_at_the_rows(listened):
    hub, commands = listened
    fill(hub, 700)
    list(hub.feed("rows", inputs=["a", "b"], cache=False))
    commands.since()
    hub.feed("rows", inputs=["a", "b"], cache=False)
    assert [name for database, name in commands.since() if database == hub.db.name].count("find") == 0


def test_the_emptiness_between_bursts_of_ids_is_passed_over_at_once(hub):
    ids = [ObjectId(f"{6 * 10**7 + second:08x}{'ab' * 5}{i:06x}") for second in (0, 1, 40, 400) for i in range(300)]
    hub.db["rows"].insert_many([{"_id": each} for each in ids])
    asked = []

    def find(query):
        asked.append(query)
        with RawReader(hub._connection, hub.db.name, "rows", find=query) as found:
            yield from found

    found = Bounds(Key(), 16, find).all()
    assert len(found) < 100
    assert len(asked) < len(found) + 60  # there are up to 256 stretches
