"""What a feed holds between its epochs, and gives back."""

from __future__ import annotations

import threading

import pytest

from nemesyst.feed.cache import Cache


@pytest.fixture
def kept(hub):
    """The cache of a hub with some rows."""
    hub.put("rows", [{"i": i} for i in range(100)])
    return Cache.of(hub.settings)


def following(hub):
    """Cursors that are open on the server and follow changes."""
    stages = [
        {"$currentOp": {"idleCursors": True}},
        {"$match": {"cursor.originatingCommand.comment": "nemesyst cutoff"}},
    ]
    return [each for each in hub.db.client.admin.aggregate(stages) if each["ns"].startswith(f"{hub.db.name}.")]


def test_a_feed_holds_no_thread_between_its_epochs(hub, kept):
    feed = hub.feed("rows", inputs="i", batch_size=10)
    for _ in feed:
        break
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("nemesyst-feed")]


def test_a_closed_feed_gives_its_place_in_the_cache_back(hub, kept):
    with hub.feed("rows", inputs="i") as feed:
        wanted = feed.to_numpy()["x"].tolist()
        key = feed.lineage()["plan"]
        assert any(entry.in_use for entry in kept.entries() if entry.key == key)
    assert not any(entry.in_use for entry in kept.entries() if entry.key == key)
    assert feed.to_numpy()["x"].tolist() == wanted
    feed.close()


def test_a_closed_feed_follows_no_changes(hub, kept):
    feed = hub.feed("rows", inputs="i")
    hub.put("rows", [{"i": 1000}])
    assert feed.changes().inserted == 1
    assert len(following(hub)) == 1
    feed.close()
    assert following(hub) == []
    assert feed.changes().inserted == 1
    feed.close()
