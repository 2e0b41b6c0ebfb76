"""Where a feed is, when something reads ahead of the loop."""

import pytest

import nemesyst as nm

pytestmark = pytest.mark.core


@pytest.fixture
def feed(hub):
    hub.put("rows", [{"i": n} for n in range(40)], key="i")
    return hub.feed("rows", inputs="i", batch_size=4, shuffle=True)


def ahead(batches, by=3):
    """Batches, some of which are read before they are taken."""
    held = []
    for batch in batches:
        held.append(batch)
        if len(held) > by:
            yield held.pop(0)
    yield from held


def rows(batches):
    return [row for batch in batches for row in batch["x"][:, 0].tolist()]


def test_what_was_taken_counts_not_what_was_read(feed, hub):
    whole = rows(hub.feed(feed.spec))
    seen = []
    for batch in feed.taking(ahead(feed)):
        seen += rows([batch])
        if len(seen) == 16:
            state = feed.state_dict()
            break
    again = hub.feed(feed.spec)
    again.load_state_dict(state)
    assert seen + rows(again.taking(ahead(again))) == whole
    assert again.epoch == 1
    assert again.state_dict()["parts"]["all"] == {"epoch": 1, "legs": []}


def test_a_later_state_needs_no_way_to_the_database(feed):
    batches = iter(feed)
    next(batches)
    first = feed.state_dict()
    next(batches)
    second = feed.state_dict(stored=False)
    assert second["parts"]["all"]["legs"] == [[1, False, 2]]
    assert {**second, "parts": None} == {**first, "parts": None}


def test_the_beginning_of_an_epoch_is_told_once(feed):
    told = []
    feed.when_begun(lambda: told.append(feed.epoch))
    assert told == []
    list(feed)
    list(feed)
    assert told == [0]


def test_an_epoch_that_was_gone_on_with_does_not_tell_all_its_rows(feed):
    next(iter(feed))
    feed.load_state_dict(feed.state_dict())
    assert len(rows(feed)) == 36
    assert feed.rows == {}
    list(feed)
    assert feed.rows == {"all": 40}


def test_a_framework_that_reads_ahead_makes_the_position_inexact(hub):
    pytest.importorskip("torch", reason="needs the torch extra")
    from torch.utils.data import DataLoader

    hub.put("rows", [{"i": n} for n in range(40)], key="i")
    feed = hub.feed(nm.Feed("rows", inputs="i", batch_size=4))
    loader = DataLoader(feed.to_torch(), batch_size=None, num_workers=1)
    assert feed.exact
    batches = iter(loader)
    next(batches)
    assert not feed.exact
    del batches
    assert len(list(feed.taking(loader))) == 10
    assert feed.exact
    assert feed.epoch == 2
