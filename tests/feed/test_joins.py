"""Joins over time: what they bring, how they are checked, and what they ask of the server."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nemesyst.errors import FeedError, FieldError, PipelineError
from nemesyst.feed.joins import Found, Joiner, check_join
from nemesyst.feed.joins.match import Gathered
from nemesyst.feed.joins.rows import Rows

sys.path.insert(0, str(Path(__file__).parent))

from joins_reference import AsOf, check, joined, reader, reference

pytestmark = pytest.mark.core
START = datetime(2024, 1, 1)


def dates(*hours):
    return np.array([START + timedelta(hours=hour) for hour in hours], "datetime64[ms]")


@pytest.fixture
def weather(hub):
    """Two sites, a reading at 0, 6 and 12 o'clock."""
    rows = [
        {"site_id": site, "t": START + timedelta(hours=hour), "temp": hour + site / 10, "sky": "clear" * (hour // 6)}
        for site in (1, 2)
        for hour in (0, 6, 12)
    ]
    hub.db["weather"].insert_many(rows)
    return hub


SPEC = AsOf("weather", by={"site": "site_id"}, on="t", fields={"temp": "outside"})


def test_a_row_gets_the_newest_earlier_one_and_an_equal_time_counts(weather):
    found = joined(weather, SPEC, np.array([1, 1, 2, 1]), dates(6, 11.9, 24, 5.9))["outside"]
    assert found.values.tolist() == [6.1, 6.1, 12.2, 0.1]
    assert found.missing is None


def test_nothing_comes_from_the_future_nor_from_beyond_the_tolerance(weather):
    spec = AsOf("weather", by={"site": "site_id"}, on="t", fields=["temp", "sky"], tolerance="1h")
    found = joined(weather, spec, np.array([1, 1, 1]), dates(-0.1, 7, 7.1))
    assert found["temp"].missing.tolist() == [True, False, True]
    assert np.isnan(found["temp"].values[[0, 2]]).all()
    assert found["sky"].values.tolist() == ["", "clear", ""]


def test_a_row_without_device_or_time_and_an_unknown_device_have_no_partner(weather):
    on = dates(8, 8, 8)
    on[0] = np.datetime64("NaT")
    found = joined(weather, SPEC, np.array([1, 9, 2]), on, missing=np.array([False, False, True]))["outside"]
    assert found.missing.tolist() == [True] * 3
    assert found.values.dtype == np.float64


def test_dtypes_are_the_same_whether_there_are_partners_or_not(hub):
    rows = [{"t": t, "n": t, "b": True, "s": "a" * t, "when": START, "v": [1, 2], "d": None} for t in range(3)]
    rows[1]["d"] = 2.5
    rows[2]["n"] = 1.5
    hub.db["other"].insert_many(rows)
    spec = AsOf("other", by=None, on="t", fields=["n", "b", "s", "when", "v", "d"])
    for on in ([-1], [1], [2, 0], [-1, 2]):
        found = joined(hub, spec, None, np.array(on))
        assert [found[name].values.dtype.str for name in ("n", "b", "when", "v", "d")] == [
            "<f8", "<f8", "<M8[ms]", "<f8", "<f8",
        ]  # fmt: skip
        assert found["s"].values.dtype.kind == "U"
        assert found["v"].values.shape == (len(on), 2)


def test_packed_arrays_come_over_as_they_are(hub):
    hub.put("other", [{"t": t, "image": np.full((2, 2), t, np.uint8)} for t in range(3)])
    found = joined(hub, AsOf("other", by=None, on="t", fields="image"), None, np.array([-1, 1.5]))["image"]
    assert found.values.dtype == np.uint8
    assert found.values.tolist() == [[[0, 0], [0, 0]], [[1, 1], [1, 1]]]
    assert found.missing.tolist() == [True, False]


def test_of_equal_times_the_last_id_counts_however_it_is_read(hub):
    rows = [{"_id": i, "d": 1, "t": t, "v": float(i)} for i, t in enumerate([5, 5, 3, 3, 5])]
    hub.db["other"].insert_many(rows[::-1])
    hub.db["other"].create_index([("d", 1), ("t", 1)])
    spec = AsOf("other", by="d", on="t", fields="v")
    for keep, seek in ((1 << 20, None), (0, "index"), (0, None)):
        found = joined(hub, spec, np.array([1, 1]), np.array([4, 9]), keep=keep, seek=seek)["v"]
        assert found.values.tolist() == [3, 4]


@pytest.mark.parametrize("tolerance", [None, 2])
def test_a_collection_that_is_clustered_on_device_and_time_is_sought_in_its_own_order(hub, tolerance):
    rows = [{"d": d, "t": t, "v": float(10 * d + t)} for d in range(5) for t in range(d, 20, d + 1)]
    hub.put("keyed", rows, key=("d", "t"))
    spec = AsOf("keyed", by="d", on="t", fields="v", tolerance=tolerance)
    assert check_join(hub._connection, hub.db.name, spec.filled({})).seek == "clustered"
    by, on = np.repeat(np.arange(6), 12), np.tile(np.arange(-2, 22, 2), 6)
    documents = list(hub.db["keyed"].find())
    hidden = [{"d": 1, "t": 3}, {"d": 1, "t": 5}, {"d": 0, "t": 2}]
    kept = [each for each in documents if dict(each["_id"]) not in hidden]
    for i, each in enumerate(kept):
        each["_id"] = i
    check(joined(hub, spec, by, on, keep=0, hidden=hidden), reference(kept, spec, by.tolist(), on.tolist()), spec)


def test_rows_after_the_cutoff_do_not_hide_those_before_it(hub):
    hub.db["other"].insert_many([{"_id": t, "d": d, "t": t, "v": float(t)} for d in (1,) for t in range(500)])
    hub.db["other"].create_index([("d", 1), ("t", 1)])
    spec = AsOf("other", by="d", on="t", fields="v")
    found = joined(hub, spec, np.array([1]), np.array([450.5]), keep=0, hidden=range(7, 480))["v"]
    assert found.values.tolist() == [6]


def test_a_pipeline_comes_first(weather):
    spec = AsOf(
        "weather",
        by={"site": "site_id"},
        on="t",
        fields=["f"],
        pipeline=[{"$match": {"temp": {"$lt": 10}}}, {"$set": {"f": {"$multiply": ["$temp", 2]}}}],
    )
    weather.db["weather"].create_index([("site_id", 1), ("t", 1)])
    for keep in (0, 1 << 20):
        assert joined(weather, spec, np.array([1]), dates(24), keep=keep)["f"].values.tolist() == [12.2]


def test_a_pipeline_that_makes_device_or_time_is_followed_by_reading_all(hub):
    hub.db["other"].insert_many([{"s": {"d": 1, "t": t}, "v": t} for t in range(5)])
    made = [{"$set": {"d": "$s.d", "t": {"$multiply": ["$s.t", 10]}}}]
    hub.db["other"].create_index([("d", 1), ("t", 1)])
    spec = AsOf("other", by="d", on="t", fields="v", pipeline=made)
    assert check_join(hub._connection, hub.db.name, spec.filled({})).seek is None
    assert joined(hub, spec, np.array([1]), np.array([25]), keep=0)["v"].values.tolist() == [2]


def test_a_view_and_a_time_series_collection_can_be_joined(weather):
    weather.db.command("create", "view", viewOn="weather", pipeline=[{"$match": {"temp": {"$lt": 10}}}])
    weather.db.create_collection("series", timeseries={"timeField": "t", "metaField": "site_id"})
    weather.db["series"].insert_many(
        [{"t": START + timedelta(hours=hour), "site_id": 1, "temp": float(hour)} for hour in (0, 6)]
    )
    for name, value in (("view", 6.1), ("series", 6.0)):
        spec = AsOf(name, by={"site": "site_id"}, on="t", fields=["temp"])
        for keep in (0, 1 << 20):
            assert joined(weather, spec, np.array([1]), dates(24), keep=keep)["temp"].values.tolist() == [value]


def test_a_small_side_is_read_once(weather):
    spec, asked = SPEC.filled({}), []
    read = reader(weather, "weather")
    found = check_join(weather._connection, weather.db.name, spec)
    joiner = Joiner(lambda branches: asked.append(1) or read(branches), spec, found)
    for hour in (3, 8, 13):
        joiner.columns(np.array([1]), dates(hour))
    assert len(asked) == 1


def test_thousands_of_devices_take_few_requests(hub):
    rows = [{"d": f"unit-{d}", "t": t, "v": float(t)} for d in range(1000) for t in range(3)]
    hub.db["other"].insert_many(rows)
    hub.db["other"].create_index([("d", 1), ("t", 1)])
    spec, asked = AsOf("other", by="d", on="t", fields="v").filled({}), []
    read = reader(hub, "other")
    joiner = Joiner(
        lambda branches: asked.append(1) or read(branches),
        spec,
        check_join(hub._connection, hub.db.name, spec),
        keep=0,
    )
    found = joiner.columns(np.array([f"unit-{d}" for d in range(1000)]), np.full(1000, 1.5))["v"]
    assert found.values.tolist() == [1.0] * 1000
    assert len(asked) == 8


def test_what_is_gathered_is_bounded_by_the_rows_of_the_chunk():
    gathered = Gathered(None, None, np.arange(0, 1000, 100.0))
    for first in range(0, 900_000, 30_000):
        gathered.add(Rows(None, (np.arange(first, first + 30_000.0) * 7) % 1000, {}))
        assert gathered._count <= 2 * 10 + 65_536 + 10
    assert gathered.rows().on.tolist() == list(range(0, 1000, 100))


def test_what_was_found_goes_into_a_plan_and_back(weather):
    found = check_join(weather._connection, weather.db.name, SPEC.filled({}))
    assert Found.from_dict(found.as_dict()).layouts == found.layouts
    assert found.hint == (
        "weather has no index on (site_id, t), so that, unless it is small, every chunk reads all of it: "
        "db.weather.createIndex({site_id: 1, t: 1})"
    )


def test_a_join_is_the_same_however_it_is_written():
    one = AsOf("w", by="a", on="t", fields="x", tolerance="60min", pipeline=[])
    other = AsOf("w", by={"a": "a"}, on={"t": "t"}, fields={"x": "x"}, tolerance=timedelta(hours=1))
    assert one.as_dict() == other.as_dict()
    assert AsOf(**one.as_dict()) == one


def test_names_take_a_prefix():
    assert AsOf("w", by="a", on="t", fields={"x": "y", "z": "z"}, prefix="w_").names == ["w_y", "w_z"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"collection": ""}, "collection='' is not a name"),
        ({"by": ["a", "b"]}, r"by=\['a', 'b'\] is not the name of one field"),
        ({"by": {"a": "b", "c": "d"}}, "is not the name of one field"),
        ({"on": ""}, "on='' is not the name of one field"),
        ({"fields": []}, r"fields=\[\] is not a list of field names"),
        ({"fields": ["a", "a"]}, "names one twice"),
        ({"fields": {"a": "x", "b": "x"}}, "fields gives x twice"),
        ({"tolerance": "soon"}, "tolerance: 'soon' is not a length of time"),
        ({"tolerance": -1}, "tolerance: -1"),
        ({"tolerance": True}, "tolerance: True"),
        ({"prefix": 3}, "prefix=3"),
        ({"pipeline": [{"$out": "x"}]}, "not allowed"),
    ],
    ids=str,
)
def test_an_argument_that_does_not_fit_is_told(arguments, said):
    with pytest.raises(FeedError, match=said):
        AsOf(**{"collection": "w", "by": "a", "on": "t", "fields": ["x"], **arguments})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"$group": {"_id": "$a"}}], r"cannot be followed through time: stage 0, \$group"),
        ([{"$match": {"$sampleRate": 0.5}}], "sampleRate"),
        ([{"$project": {"_id": 0, "t": 1}}], "changes _id or leaves it out"),
    ],
    ids=str,
)
def test_a_pipeline_that_does_not_fit_is_told(stages, said):
    with pytest.raises(PipelineError, match=said):
        AsOf("w", by="a", on="t", fields="x", pipeline=stages).filled({})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"collection": "wether"}, "no collection 'wether'(.|\n)*did you mean weather"),
        ({"by": {"site": "site"}}, "no document of weather has field 'site'(.|\n)*site_id"),
        ({"fields": ["tmp"]}, "has field 'tmp'(.|\n)*temp"),
        ({"on": "sky"}, "sky holds texts, which are no times"),
        ({"tolerance": 3600}, 'tolerance=3600 does not fit field t, which holds dates(.|\n)*"1h"'),
        ({"pipeline": [{"$set": {"x": {"$foo": 1}}}]}, r"Unrecognized expression '\$foo'"),
    ],
    ids=str,
)
def test_a_join_that_cannot_be_made_is_told_before_any_work(weather, arguments, said):
    given = {"collection": "weather", "by": {"site": "site_id"}, "on": "t", "fields": ["temp"], **arguments}
    with pytest.raises(FeedError, match=said):
        check_join(weather._connection, weather.db.name, AsOf(**given).filled({}))


def test_sides_of_other_kinds_are_told(weather):
    with pytest.raises(FieldError, match=r"field site of the feed holds texts, and site_id of weather holds numbers"):
        joined(weather, SPEC, np.array(["1"]), dates(3))
    with pytest.raises(FieldError, match=r"field t of the feed holds numbers, and t of weather holds dates"):
        joined(weather, SPEC, np.array([1]), np.array([3]))


def test_a_field_that_changes_its_kind_is_told(hub):
    hub.db["other"].insert_many([{"t": 1, "v": 2.0}, {"t": 2, "v": [1.0]}])
    with pytest.raises(FieldError, match=r"AsOf other: field v"):
        joined(hub, AsOf("other", by=None, on="t", fields="v"), None, np.array([3]))
