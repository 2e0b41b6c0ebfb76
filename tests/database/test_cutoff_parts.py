"""The parts of a cutoff that need no server: sets of ids, what is excluded when, rates, kept state."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import bson
import numpy as np
import pytest
from bson import Binary, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given, settings
from hypothesis import strategies as st

from nemesyst.database.cutoff import Ids, RateLimit
from nemesyst.database.cutoff.exclusions import Exclusions
from nemesyst.database.cutoff.ids import key_of
from nemesyst.database.cutoff.kept import Kept
from nemesyst.database.cutoff.times import after, before, token_time
from nemesyst.errors import DatabaseError, SettingsError

pytestmark = pytest.mark.core

NAN = float("nan")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, Int64(1)),
        (1, Decimal128("1.00")),
        (0.0, -0.0),
        (0.5, Decimal128("0.5")),
        (NAN, NAN),
        (NAN, Decimal128("NaN")),
        (float("inf"), Decimal128("Infinity")),
        (2.0**53, Decimal128(str(2**53))),
        ({"a": 1, "b": [2]}, {"a": 1.0, "b": [Int64(2)]}),
        (3, np.int32(3)),
        ("a", np.str_("a")),
        (MOMENT, MOMENT.replace(tzinfo=None)),
        (MOMENT, MOMENT.astimezone(tz=None)),
        (MOMENT, np.datetime64("2026-01-02T03:04:05.678")),
        (b"a", Binary(b"a", 0)),
        (UUID(int=7), Binary(UUID(int=7).bytes, 4)),
        (DBRef("c", 1), {"$ref": "c", "$id": 1.0}),
    ],
)
def test_ids_that_the_server_holds_for_one_are_one(one, other):
    assert one in Ids([other])
    assert other in Ids([one])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (None, False),
        (0.1, Decimal128("0.1")),
        (2**53 + 1, 2.0**53),
        ({"a": 1, "b": 1}, {"b": 1, "a": 1}),
        ({"a": 1}, {"a": 1, "b": None}),
        ("1", 1),
        (b"a", Binary(b"a", 5)),
        (b"abcdefghijkl", ObjectId(b"abcdefghijkl")),
        (MOMENT, MOMENT + timedelta(milliseconds=1)),
        (Timestamp(1, 2), Timestamp(2, 1)),
        (MinKey(), MaxKey()),
        (Regex("a"), Regex("a", "i")),
        ([1], {"0": 1}),
    ],
)
def test_ids_that_are_two_to_the_server_are_two(one, other):
    assert one not in Ids([other])
    assert other not in Ids([one])


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=20),
    st.builds(ObjectId, st.binary(min_size=12, max_size=12)),
    st.datetimes(min_value=datetime(1, 1, 2)),
    st.uuids().map(Binary.from_uuid),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@given(VALUES)
def test_an_id_is_known_however_it_is_decoded(value):
    raw = bson.encode({"": value})
    for options in (
        CodecOptions(),
        CodecOptions(tz_aware=True, uuid_representation=4),
        CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS, document_class=bson.SON),
        CodecOptions(document_class=bson.raw_bson.RawBSONDocument),
    ):
        assert key_of(bson.decode(raw, options)[""]) == key_of(bson.decode(raw)[""])


@given(st.lists(VALUES, max_size=20), st.lists(VALUES, max_size=20))
def test_what_is_kept_is_what_is_not_in_the_set(excluded, there):
    ids = Ids(excluded)
    assert ids.keep([*there, *excluded]).tolist() == [*(value not in ids for value in there), *[False] * len(excluded)]
    assert len(ids) <= len(excluded)


EVENTS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=4, max_size=14)


@settings(max_examples=500)
@given(EVENTS, st.sets(st.sampled_from("ab")), st.sets(st.integers(1, 14)))
def test_a_snapshot_excludes_what_came_up_to_its_time(wanted, at_cutoff, forget_at):
    """Against a plain reference: which incarnation of a row each time shows."""
    exclusions, kept = Exclusions(0), []
    there = dict.fromkeys(at_cutoff, 0)
    shows = [dict(there)]
    for time, (key, inserts) in enumerate(wanted, 1):
        if inserts and key not in there:
            there[key] = time
            exclusions.insert(key, time)
        elif not inserts and key in there:
            del there[key]
            exclusions.delete(key, time)
        shows.append(dict(there))
        if time in forget_at:  # a snapshot of now is in use; then what nobody needs is forgotten
            snapshot = exclusions.snapshot()
            snapshot.time = time
            kept.append(snapshot)
            exclusions.forget()
    for snapshot in kept:
        assert {key: key in snapshot for key in shows[snapshot.time]} == {
            key: since > 0 for key, since in shows[snapshot.time].items()
        }


def test_rows_that_are_gone_are_forgotten_when_no_snapshot_shows_them():
    exclusions = Exclusions(0)
    snapshot = exclusions.snapshot()
    snapshot.time = 5
    exclusions.insert("a", 5)
    exclusions.delete("a", 6)
    exclusions.forget()
    assert "a" in snapshot
    del snapshot
    exclusions.forget()
    assert len(exclusions) == 0
    assert exclusions.snapshot().least == 6  # a snapshot of before would show what is forgotten


def test_a_rate_holds_on_average_and_is_not_made_up_for():
    clock, pauses = [100.0], []

    def pause(seconds):
        pauses.append(seconds)
        clock[0] += seconds
        return False

    limit = RateLimit(1000, now=lambda: clock[0], pause=pause)
    for _ in range(5):
        limit.wait(500)
    assert clock[0] == pytest.approx(102.0)  # each waits for what came before it
    clock[0] += 1000
    pauses.clear()
    for _ in range(4):
        limit.wait(500)
    assert sum(pauses) == pytest.approx(0.5)  # a second's worth at once, not a thousand's


def test_a_stopped_rate_lets_everybody_go_on():
    limit = RateLimit(1)
    limit.wait(10**9)
    limit.stop()
    limit.wait(1)


@pytest.mark.parametrize("rate", [0, -1, NAN])
def test_a_rate_is_positive(rate):
    with pytest.raises(SettingsError, match="bytes_per_second"):
        RateLimit(rate)


def test_kept_exclusions_go_through_json_and_come_back():
    ids = (ObjectId(), 1, 1.5, "a", {"u": Int64(1), "t": MOMENT}, b"x", None)
    kept = Kept(Timestamp(5, 6), settled=True, ids=ids)
    again = Kept.from_dict(bson.decode(bson.encode(kept.as_dict())))
    assert (again.until, again.settled) == (kept.until, kept.settled)
    assert all(value in Ids(again.ids) for value in ids)
    with pytest.raises(DatabaseError, match="cannot be read"):
        Kept.from_dict({"until": 3})


def test_times_step_over_the_end_of_a_second():
    assert after(Timestamp(5, 2**32 - 1)) == Timestamp(6, 0)
    assert before(Timestamp(6, 0)) == Timestamp(5, 2**32 - 1)


def test_a_resume_token_holds_a_time_or_is_refused():
    assert token_time({"_data": "826B003838000000072B0229296E04"}) == Timestamp(0x6B003838, 7)
    with pytest.raises(DatabaseError, match=re.escape("resume token cannot be read: 81")):
        token_time({"_data": "81"})
