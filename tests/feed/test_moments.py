"""Moments without a zone are UTC, whatever the machine's own zone is; what even ranks make of single rows."""

import time
from datetime import UTC, datetime, timedelta

import pytest

import nemesyst as nm

pytestmark = pytest.mark.core


@pytest.fixture
def tokyo(monkeypatch):
    """A machine nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_cutoff_without_a_zone_is_utc(hub):
    hub.put("rows", [{"i": i} for i in range(20)], key="i")
    aware = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    for moment in (aware, aware.replace(tzinfo=None), aware.replace(tzinfo=None).isoformat()):
        feed = hub.feed("rows", inputs="i", as_of=moment)
        assert feed.lineage()["as_of"] == [int(aware.timestamp()), 0]


@pytest.mark.usefixtures("tokyo")
def test_the_times_of_a_split_without_a_zone_are_utc(hub):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hub.put("rows", [{"i": i, "t": start + timedelta(hours=i)} for i in range(48)], key="i")
    split = nm.Split(on="t", test_from="2026-01-02")
    assert hub.feed("rows", inputs="i", split=split).test.to_numpy()["x"][:, 0].tolist() == list(range(24, 48))


def test_even_ranks_with_batches_of_one_never_have_none(hub):
    hub.put("rows", [{"i": i} for i in range(11)], key="i")
    ranks = [list(hub.feed("rows", inputs="i", batch_size=1, shard=(r, 3), even=True)) for r in range(3)]
    sizes = [[len(batch["x"]) for batch in batches] for batches in ranks]
    assert {len(each) for each in sizes} == {3}
    assert sorted(size for each in sizes for size in each) == [1] * 7 + [2] * 2
    assert sorted(i for batches in ranks for b in batches for i in b["x"][:, 0].tolist()) == list(range(11))
