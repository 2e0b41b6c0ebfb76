"""Joins of a bound feed: those of pandas.merge_asof and plain loops, never a value of the future."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError, PipelineError

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)


def dated(t):
    return START + timedelta(seconds=int(t))


def put(hub, *, rows=400, others=150, time=int, index=True):
    """Readings of three sites, and weather of two of them under other names; times come in no order."""
    rng = np.random.default_rng(2)
    readings = [
        {"i": i, "site": int(rng.integers(3)), "t": time(rng.integers(1000)), "air": i / 2, "label": i % 3}
        for i in range(rows)
    ]
    weather = [
        {
            "place": int(rng.integers(2)),
            "when": time(rng.integers(1000)),
            "temp": float(n),
            "sky": "grey" if n % 3 else "blue",
        }
        for n in range(others)
    ]
    hub.db.readings.insert_many(readings)
    hub.db.weather.insert_many(weather)
    if index:
        hub.db.weather.create_index([("place", 1), ("when", 1)])


WEATHER = {"collection": "weather", "by": {"site": "place"}, "on": {"t": "when"}, "fields": ["temp", "sky"]}


def expected(hub, *, tolerance=None, field="temp"):
    """The value for each reading by a plain loop; None where there is none."""
    weather = list(hub.db.weather.find(sort=[("_id", 1)]))
    found = {}
    for row in hub.db.readings.find():
        best = None
        for other in weather:
            fits = other["place"] == row["site"] and other["when"] <= row["t"]
            if fits and tolerance is not None:
                fits = row["t"] - other["when"] <= tolerance
            if fits and (best is None or other["when"] >= best["when"]):
                best = other
        found[row["i"]] = None if best is None else best[field]
    return found


def given(feed):
    return {int(i): float(temp) for batch in feed for i, temp in batch["x"]}


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("time", "tolerance", "span"), [(int, None, None), (int, 20, 20), (dated, "30s", timedelta(seconds=30))]
)
def test_the_newest_earlier_row_comes_with_each(hub, index, time, tolerance, span):
    put(hub, time=time, index=index)
    feed = hub.feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER, tolerance=tolerance), missing="nan")
    wanted = expected(hub, tolerance=span)
    for _ in range(2):
        found = given(feed)
        assert len(found) == 400
        for i, temp in wanted.items():
            assert np.isnan(found[i]) if temp is None else found[i] == temp, i
    assert None in wanted.values()


def test_it_is_what_pandas_says(hub):
    pd = pytest.importorskip("pandas")
    put(hub, time=dated)
    feed = hub.feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER, tolerance="2min"), missing="nan")
    left = pd.DataFrame(list(hub.db.readings.find())).sort_values("t")
    right = pd.DataFrame(list(hub.db.weather.find(sort=[("when", 1), ("_id", 1)])))
    right = right.drop_duplicates(["place", "when"], keep="last")
    merged = pd.merge_asof(
        left, right, left_on="t", right_on="when", left_by="site", right_by="place", tolerance=pd.Timedelta("2min")
    )
    wanted = dict(zip(merged["i"], merged["temp"], strict=True))
    found = given(feed)
    np.testing.assert_array_equal([found[i] for i in sorted(wanted)], [wanted[i] for i in sorted(wanted)])


def test_a_row_without_partner_is_told_with_field_and_document(hub):
    put(hub)
    with pytest.raises(
        FieldError, match=r"field temp of the join has no value for .* first _id: ObjectId.*\n.*missing="
    ):
        list(hub.feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER)))


def test_a_row_without_partner_can_be_dropped_or_given_a_number(hub):
    put(hub)
    wanted = expected(hub)
    join = nm.AsOf(**WEATHER)
    dropped = given(hub.feed("readings", inputs=["i", "temp"], join=join, missing="drop"))
    assert dropped == {i: temp for i, temp in wanted.items() if temp is not None}
    filled = given(hub.feed("readings", inputs=["i", "temp"], join=join, missing=-9))
    assert filled == {i: -9 if temp is None else temp for i, temp in wanted.items()}


@pytest.mark.parametrize("lost", [{"site": None}, {"t": None}, {}])
def test_a_reading_without_site_or_time_has_no_partner(hub, lost):
    put(hub)
    row = {"i": 1000, "air": 0.0, "site": 0, "t": 999}
    hub.db.readings.insert_one({**row, **lost} if lost else {"i": 1000, "air": 0.0})
    found = given(hub.feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER), missing="nan"))
    assert np.isnan(found[1000])


def test_rows_of_the_other_collection_after_the_cutoff_do_not_count(hub):
    put(hub)
    feed = hub.feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER), missing="nan", cache=False)
    before = expected(hub)
    hub.db.weather.insert_many(
        [{"place": p, "when": t, "temp": -5.0, "sky": "green"} for p in range(3) for t in range(0, 1000, 7)]
    )
    found = given(feed)
    assert all(np.isnan(found[i]) if temp is None else found[i] == temp for i, temp in before.items())
    after, now = expected(hub), given(feed.refresh())
    assert all(np.isnan(now[i]) if temp is None else now[i] == temp for i, temp in after.items())
    assert after != before


def test_several_joins_and_names(hub):
    put(hub)
    hub.db.price.insert_many([{"t": t, "price": {"now": t / 10}} for t in range(0, 1000, 50)])
    joins = [
        nm.AsOf(**WEATHER, prefix="out_"),
        nm.AsOf("price", by=None, on="t", fields={"price.now": "cost"}),
        nm.AsOf("weather", by={"site": "place"}, on={"t": "when"}, fields={"temp": "young"}, tolerance=15),
    ]
    feed = hub.feed("readings", inputs=["i", "out_temp", "cost", "young", "t"], join=joins, missing="nan")
    temp, young = expected(hub), expected(hub, tolerance=15)
    for row in feed.to_numpy()["x"].tolist():
        number, cost, t = int(row[0]), row[2], int(row[4])
        for found, wanted in ((row[1], temp[number]), (row[3], young[number])):
            assert np.isnan(found) if wanted is None else found == wanted
        assert cost == np.float32(t // 50 * 5)


@pytest.mark.parametrize("options", [{}, {"every": 10, "max_gap": 100}])
def test_windows_of_joined_rows(hub, options):
    rows = [{"unit": u, "t": t, "i": 1000 * u + t} for u in range(2) for t in range(300)]
    hub.put("rows", rows, key=("unit", "t"))
    hub.put("price", [{"t": t, "price": float(t)} for t in range(0, 300, 20)], key="t")
    window = nm.Window(by="unit", on="t", length=5, horizon=2, known="price", **options)
    join = nm.AsOf("price", by=None, on="t", fields="price")
    feed = hub.feed("rows", inputs=["t", "price"], targets="price", window=window, join=join, batch_size=64)
    count = 0
    for batch in feed:
        count += len(batch["x"])
        if not options:
            np.testing.assert_array_equal(batch["x"][..., 1], batch["x"][..., 0] // 20 * 20)
            np.testing.assert_array_equal(batch["y"], batch["known"])
    assert count == (2 * 294 if not options else 2 * 24)


def test_joined_texts_become_codes_of_the_train_part(hub):
    put(hub)
    spec = nm.Feed("readings", inputs=["i", "sky"], targets="label", join=nm.AsOf(**WEATHER), missing="drop")
    wanted = expected(hub, field="sky")
    for cache in (True, True, False):
        found = given(hub.feed(spec, cache=cache))
        codes = {"blue": 0, "grey": 1}
        assert found == {i: codes[sky] for i, sky in wanted.items() if sky is not None}


def test_a_joined_text_can_be_the_target(hub):
    put(hub)
    feed = hub.feed("readings", inputs="i", targets="sky", join=nm.AsOf(**WEATHER), missing="drop", weight="balanced")
    wanted = expected(hub, field="sky")
    batch = feed.to_numpy()
    assert batch["y"].dtype == np.int64
    assert {int(i): ["blue", "grey"][y] for (i,), y in zip(batch["x"], batch["y"], strict=True)} == {
        i: sky for i, sky in wanted.items() if sky is not None
    }
    assert batch["weight"].sum() == pytest.approx(len(batch["y"]), rel=1e-3)


def test_without_inputs_joined_fields_are_arrays_too(hub):
    put(hub)
    batch = hub.feed("readings", join=nm.AsOf(**WEATHER), missing="drop").to_numpy()
    assert {"temp", "sky", "i", "t"} <= set(batch)
    wanted = expected(hub)
    assert dict(zip(batch["i"].tolist(), batch["temp"].tolist(), strict=True)) == {
        i: temp for i, temp in wanted.items() if temp is not None
    }


def test_ranks_and_a_resume_join_alike(hub):
    put(hub)
    spec = nm.Feed("readings", inputs=["i", "temp"], join=nm.AsOf(**WEATHER), missing=0, shuffle=True, batch_size=32)
    whole = given(hub.feed(spec))
    found = {}
    for rank in range(3):
        found |= given(hub.feed(spec, shard=(rank, 3), cache=False))
    assert found == whole
    feed, begun = hub.feed(spec), []
    for batch in feed:
        begun.append(batch)
        if len(begun) == 4:
            break
    again = hub.feed(spec, cache=False)
    again.load_state_dict(feed.state_dict())
    assert given([*begun, *again]) == whole


@pytest.mark.parametrize(
    ("join", "error", "said"),
    [
        ({"collection": "wether"}, FeedError, r"no collection 'wether'\n.*weather"),
        ({"fields": "tmp"}, FieldError, r"no document of weather has field 'tmp'\n.*temp"),
        ({"by": {"sit": "place"}}, FieldError, r"no document of readings has field 'sit'\n.*site"),
        ({"on": {"t": "wen"}}, FieldError, r"no document of weather has field 'wen'\n.*when"),
        ({"by": {"label": "sky"}}, FieldError, r"label of the feed holds numbers, and sky of weather holds texts"),
        ({"on": {"t": "sky"}}, FieldError, r"field sky holds texts, which are no times"),
        ({"tolerance": "1h"}, FeedError, r"tolerance='1h' does not fit field when, which holds numbers\n.*3600"),
        ({"pipeline": [{"$group": {"_id": "$place"}}]}, PipelineError, "cannot be followed through time"),
        ({"pipeline": [{"$mach": {}}]}, PipelineError, r"\$mach"),
    ],
)
def test_what_does_not_fit_is_told(hub, join, error, said):
    put(hub)
    with pytest.raises(error, match=said):
        hub.feed(
            "readings", inputs=["i"], join=nm.AsOf(**{**WEATHER, "fields": ["temp"], **join}), missing=0
        ).to_numpy()
