"""The moments that a cutoff may be given as."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from bson import Timestamp

from nemesyst.database import STAMP
from nemesyst.database.cutoff import Cutoff, as_time, present_time
from nemesyst.errors import FeedError

from .cutoffs import ids_of, put

pytestmark = pytest.mark.slow


def test_the_present_covers_what_was_written_before(hub, now):
    before = now()
    put(hub, [1])
    time = now()
    assert before < hub.db.rows.find_one()[STAMP] < time
    assert present_time(hub._connection) >= time
    assert present_time(hub._connection, hub.db.name, fresh=True) >= time


def test_a_moment_is_given_in_many_forms(hub):
    expected = Timestamp(int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()), 0)
    moments = ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T01:00+01:00", date(2026, 1, 2), expected.time]
    moments += [datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), np.datetime64("2026-01-02"), expected]
    moments += [float(expected.time), np.float64(expected.time), datetime(2026, 1, 1, 23, 59, 59, 1)]
    assert {as_time(moment, hub._connection, hub.db.name) for moment in moments} == {expected}


def test_this_very_moment_covers_what_was_put_before_it(hub):
    put(hub, [1])
    time = as_time(datetime.now(UTC), hub._connection, hub.db.name)
    with Cutoff(hub._connection, hub.db.name, "rows", time) as under:
        assert ids_of(under) == [1]
    assert as_time(None, hub._connection, hub.db.name) >= time


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("yesterday", "not an ISO date"),
        (True, "of type bool is no moment"),
        ([], "of type list is no moment"),
        (float("nan"), "no moment"),
        (-5, "outside of the years"),
        (Timestamp(0, 0), "before any write"),
        (Timestamp(2**32 - 1, 1), "lies in the future: the server's time is 20"),
        (timedelta(days=1), "no moment"),
        (np.datetime64("NaT"), "no moment"),
        ([10**12, 1], "is no cluster time"),
        (1_795_187_305_000, "outside of the years(.|\n)*may be milliseconds"),
        ("x" * 1000, "as_of: 'x{99}\\.\\.\\. is not an ISO date"),
    ],
)
def test_what_is_no_moment_is_refused(hub, moment, told):
    with pytest.raises(FeedError, match=told):
        as_time(moment, hub._connection, hub.db.name)


def test_the_future_is_refused(hub):
    with pytest.raises(FeedError, match="lies in the future") as error:
        as_time(datetime.now(UTC) + timedelta(days=1), hub._connection, hub.db.name)
    assert "Leave as_of out" in str(error.value)
    assert "zone" not in str(error.value)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_moment_without_a_zone_is_utc_and_who_meant_another_is_told(hub, as_text):
    moment = (datetime.now(UTC) + timedelta(hours=3)).replace(tzinfo=None)
    with pytest.raises(FeedError, match="without a zone is taken for UTC"):
        as_time(moment.isoformat() if as_text else moment, hub._connection, hub.db.name)
    earlier = datetime(2026, 1, 31, 12)
    times = [as_time(each, hub._connection, hub.db.name) for each in (earlier, earlier.replace(tzinfo=UTC))]
    assert times[0] == times[1]


def test_a_time_that_pandas_does_not_have_is_refused(hub):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(FeedError, match="NaT is no moment"):
        as_time(pandas.NaT, hub._connection, hub.db.name)
