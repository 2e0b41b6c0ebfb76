"""The newest rows of a feed by event time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import nemesyst as nm

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def rows(hub):
    """An hour a row for 30 days, put in no order."""
    order = np.random.default_rng(0).permutation(24 * 30)
    hub.put("air", [{"u": int(i) % 3, "t": BEGIN + timedelta(hours=int(i)), "n": int(i), "v": float(i)} for i in order])
    return hub


def values(feed):
    return sorted(np.concatenate([batch["x"] for batch in feed])[:, 0].tolist())


def test_the_newest_rows_by_a_date(rows):
    feed = rows.feed("air", inputs="v").since("7d", on="t")
    assert values(feed) == list(range(720 - 1 - 7 * 24, 720))


def test_the_newest_rows_by_a_number(rows):
    assert values(rows.feed("air", inputs="v").since(10, on="n")) == list(range(709, 720))


def test_the_time_is_that_of_the_split_or_the_window(rows):
    split = nm.Split(on="t", test_from=BEGIN + timedelta(days=29))
    feed = rows.feed("air", inputs="v", split=split).since("2d")
    assert values(feed.test) == list(range(696, 720))
    assert values(feed.train) == list(range(671, 696))


def test_it_has_the_cutoff_of_its_feed(rows):
    feed = rows.feed("air", inputs="v")
    rows.put("air", [{"u": 1, "t": BEGIN + timedelta(days=300), "n": 9999, "v": 9999.0}])
    assert values(feed.since("1h", on="t")) == [718, 719]
    assert values(rows.feed("air", inputs="v").since("1h", on="t")) == [9999]


def test_the_scale_that_its_feed_was_given_stays(rows):
    first = rows.feed("air", inputs="v", scale="standard")
    record = first.recorded()
    later = rows.feed("air", inputs="v", scale="standard", prepared=record).since("1d", on="t")
    assert later.recorded()["prepared"] == record["prepared"]
    assert float(later.to_numpy()["x"].min()) > 1  # the newest are far above the mean of all


def test_the_pipeline_comes_first(rows):
    feed = rows.feed("air", pipeline=[{"$match": {"u": 1}}, {"$set": {"when": "$t"}}], inputs="v").since(
        "5h", on="when"
    )
    assert values(feed) == [712.0, 715.0, 718.0][-2:]


@pytest.mark.parametrize(
    ("span", "on", "told"),
    [
        ("7d", None, "which field is the event time"),
        (3, "t", "t is a date"),
        ("7d", "n", "n is a number"),
        ("soon", "t", "'soon' is not a length of time"),
        ("7d", "no", "no row has a date or a number as no"),
    ],
)
def test_what_does_not_fit_is_told(rows, span, on, told):
    with pytest.raises(nm.NemesystError, match=told):
        rows.feed("air", inputs="v").since(span, on)
