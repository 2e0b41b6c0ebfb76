"""Windows of a bound feed: those of plain loops over the rows that PyMongo reads, each once, whoever reads them."""

import importlib.util
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bson import Decimal128

import nemesyst as nm
from nemesyst.errors import FieldError
from nemesyst.feed.parts import parts

pytestmark = [pytest.mark.core, pytest.mark.slow]

found = importlib.util.spec_from_file_location("windows_reference", Path(__file__).with_name("windows_reference.py"))
loops = importlib.util.module_from_spec(found)
found.loader.exec_module(loops)

START = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = {"inputs": ["i", "air"], "targets": "label"}
SIZES = {"a": 300, "b": 3, "c": 180, "d": 64, "e": 77}
"""Rows of each device: some in one chunk of 64 rows, some in several."""
LIKE = {"int": lambda t: t, "float": lambda t: t / 4, "dates": lambda t: START + timedelta(seconds=t)}
"""Times of each kind; the reference goes by milliseconds or numbers."""


def documents(kind="int", device=lambda name: name, sizes=SIZES):
    """Telemetry with irregular steps, gaps, and a door that changes seldom; devices take turns."""
    rng, rows, number = np.random.default_rng(5), [], 0
    for name, count in sizes.items():
        times = np.cumsum(rng.choice([1, 2, 3, 30], count, p=[0.7, 0.15, 0.1, 0.05]))
        for place, t in enumerate(times.tolist()):
            row = {"unit": device(name), "t": LIKE[kind](t), "i": number, "air": float(rng.integers(-40, 40)) / 2}
            rows.append({**row, "label": number % 5, "door": place // 17 % 2, "place": place})
            number += 1
    return [rows[at] for at in rng.permutation(len(rows))]


def put(hub, how, rows):
    """Store rows in one of the ways that windows are read from."""
    if how == "clustered":
        hub.put("rows", rows, key=("unit", "t"))
    elif how == "series":
        hub.db.create_collection("rows", timeseries={"timeField": "t", "metaField": "unit"})
        hub.db.rows.insert_many(rows)
    else:
        hub.db.rows.insert_many(rows)
        if how == "index":
            hub.db.rows.create_index([("unit", 1), ("t", 1)])


def number(time):
    """A time as the reference has it: ms of dates."""
    return (time - START.replace(tzinfo=time.tzinfo)) / timedelta(milliseconds=1) if hasattr(time, "year") else time


def length(value):
    """``every`` or ``max_gap`` as a number, ms of texts."""
    return nm.feed.windows.durations.duration(value) if isinstance(value, str) else value


def expected(hub, window, *, split=None, stages=(), name="rows", events=()):
    """Windows by (device, time of the last input step), by plain loops."""
    rows = list(hub.db[name].aggregate([*stages, {"$sort": {"_id": 1}}]))
    given = np.zeros(len(rows), np.int8)
    if split is not None:
        times = None
        if split.on is not None:
            times = np.array(
                [
                    row[split.on].replace(tzinfo=None) if hasattr(row[split.on], "year") else row[split.on]
                    for row in rows
                ]
            )
            times = times.astype("datetime64[ms]") if times.dtype == object else times
        given = parts(split, np.array([row["unit"] for row in rows]) if split.shares else None, None, times, len(rows))
    plain = [
        {"by": row["unit"] if window.by else None, "t": number(row["t"]), "x": (float(row["i"]), float(row["air"])), "y": row["label"],
         "part": int(part), "anchor": row["door"]}
        for row, part in zip(rows, given, strict=True)
    ]  # fmt: skip
    same = replace(window, every=length(window.every), max_gap=length(window.max_gap), fill=window.fill)
    windows = loops.reference(same, plain, [(by, number(t)) for by, t in events])
    ends = {}
    for device in {row["by"] for row in plain}:
        times = sorted({row["t"] for row in plain if row["by"] == device})
        for at, t in enumerate(times[: max(0, len(times) - window.length + 1)]):
            ends[device, t] = times[at + window.length - 1]
    made = {}
    for (device, first), values in windows.items():
        last = ends[device, first] if window.every is None else first + (window.length - 1) * same.every
        made[device, last] = values
    return made


def given(feed, window):
    """Windows that a feed yields, by (device, time of the last input step)."""
    made = {}
    for batch in feed:
        times = batch["time"]
        if times.dtype.kind == "M":
            times = (times - np.datetime64(START.replace(tzinfo=None), "ms")).astype(np.int64)
        devices = batch["device"].tolist() if window.by else [None] * len(times)
        for at, key in enumerate(zip(devices, times.tolist(), strict=True)):
            assert key not in made, f"window {key} came twice"
            made[key] = {name: values[at] for name, values in batch.items()}
    return made


def agree(found, wanted, window):
    """Assert that windows are those of the reference."""
    assert len(wanted) > 4, "a test of no windows"
    assert sorted(found, key=str) == sorted(wanted, key=str)
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key]["x"], np.array(values["x"], np.float32), rtol=1e-5, err_msg=str(key))
        y = values["y"] if window.horizon else values["y"][0]
        assert found[key]["y"].tolist() == y, key
        if window.every is not None:
            np.testing.assert_array_equal(found[key]["mask"], np.array(values["mask"], np.float32), err_msg=str(key))


def win(**arguments):
    return nm.Window(**{"by": "unit", "on": "t", "length": 6, "horizon": 2, "with_time": True, **arguments})


WINDOWS = {
    "plain": {},
    "gaps": {"max_gap": 4},
    "stride": {"stride": 3, "max_gap": 8},
    "classify": {"horizon": 0},
    "one": {"length": 1, "horizon": 0},
    "mean": {"every": 4, "max_gap": 8},
    "last": {"every": 2, "fill": "last", "max_gap": 40},
    "linear": {"every": 2, "fill": "linear", "max_gap": 40, "stride": 2},
    "anchor": {"anchor": "door", "max_gap": 40},
}


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
def test_windows_are_those_of_plain_loops(hub, how):
    put(hub, how, documents())
    for options in WINDOWS.values():
        window = win(**options)
        feed = hub.feed("rows", window=window, batch_size=50, **FIELDS)
        wanted = expected(hub, window)
        for _ in range(2):
            agree(given(feed, window), wanted, window)


@pytest.mark.parametrize("how", ["clustered", "index", pytest.param("nothing", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "device", "options"),
    [
        ("dates", lambda name: f"site {name}", {"max_gap": "10s"}),
        ("dates", lambda name: f"site {name}", {"every": "2s", "fill": "linear", "max_gap": "40s"}),
        ("dates", ord, {"every": "3s", "horizon": 0}),
        ("float", lambda name: ord(name) / 2, {"max_gap": 2.5, "stride": 2}),
        ("float", lambda name: START + timedelta(days=ord(name)), {"every": 0.5, "fill": "last"}),
    ],
)
def test_devices_and_times_of_any_kind(hub, how, kind, device, options):
    window = win(**options)
    put(hub, how, documents(kind, device))
    feed = hub.feed("rows", window=window, batch_size=50, **FIELDS)
    wanted = {(str(by), on): values for (by, on), values in expected(hub, window).items()}
    found = {(str(name_of(by)), on): values for (by, on), values in given(feed, window).items()}
    agree(found, wanted, window)


def name_of(device):
    return device.replace(tzinfo=None) if isinstance(device, datetime) else device


@pytest.mark.parametrize("how", ["index", "nothing"])
def test_of_doubles_the_row_with_the_largest_id_counts(hub, how):
    rows = documents()
    put(hub, how, [*rows, *({**row, "i": row["i"] + 10_000} for row in rows[::3]), *(dict(row) for row in rows[::7])])
    for options in ({}, {"every": 3, "fill": "mean"}, {"stride": 2}):
        window = win(**options)
        agree(given(hub.feed("rows", window=window, **FIELDS), window), expected(hub, window), window)


@pytest.mark.parametrize("how", ["index", "nothing"])
def test_more_doubles_of_one_time_than_a_chunk_has_rows(hub, how):
    window = win(length=3)
    rows = [{"unit": 1, "t": t, "i": t, "air": 0.0, "label": 0, "door": 0} for t in range(12)]
    put(hub, how, [{**row, "i": row["i"] + 100 * n} for n in range(90) for row in rows])
    feed = hub.feed("rows", window=window, **FIELDS)
    agree(given(feed, window), expected(hub, window), window)


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
def test_without_by_all_rows_are_one_devices(hub, how):
    window = win(by=None, max_gap=20)
    rows = [{**row, "t": 1000 * ord(row["unit"]) + row["t"]} for row in documents()]
    if how == "clustered":
        hub.put("rows", rows, key="t")
    else:
        hub.db.rows.insert_many(rows)
        if how == "index":
            hub.db.rows.create_index("t")
    agree(given(hub.feed("rows", window=window, **FIELDS), window), expected(hub, window), window)


@pytest.mark.parametrize("how", ["clustered", "index"])
def test_a_pipeline_that_changes_the_time_runs_as_a_whole(hub, how):
    window, stages = win(max_gap=60), [{"$set": {"t": {"$multiply": ["$t", -2]}}}, {"$match": {"i": {"$mod": [5, 0]}}}]
    put(hub, how, documents())
    feed = hub.feed("rows", pipeline=stages, window=window, **FIELDS)
    agree(given(feed, window), expected(hub, window, stages=stages), window)


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
def test_a_pipeline_that_keeps_the_order_runs_in_chunks(hub, how):
    stages = [{"$match": {"i": {"$mod": [3, 0]}}}, {"$set": {"air": {"$multiply": ["$air", 2]}}}]
    put(hub, how, documents())
    for options in ({}, {"every": 4}, {"stride": 3}):
        window = win(**options)
        feed = hub.feed("rows", pipeline=stages, window=window, **FIELDS)
        agree(given(feed, window), expected(hub, window, stages=stages), window)


def test_a_time_series_collection(hub):
    window = win(max_gap="10s")
    put(hub, "series", documents("dates", lambda name: f"site {name}"))
    agree(given(hub.feed("rows", window=window, **FIELDS), window), expected(hub, window), window)


SPLITS = {
    "devices": nm.Split(by="unit", validation=0.3, test=0.3),
    "time": nm.Split(on="t", validation_from=150, test_from=200),
    "both": nm.Split(by="unit", test=0.4, on="t", test_from=120),
}


@pytest.mark.parametrize("options", [{}, {"every": 4, "max_gap": 40}, {"stride": 2, "max_gap": 40}])
@pytest.mark.parametrize("split", SPLITS)
def test_no_window_reaches_from_one_part_into_another(hub, options, split):
    window = win(**options)
    put(hub, "nothing" if split == "time" else "clustered", documents(device=ord))
    feed = hub.feed("rows", window=window, split=SPLITS[split], **FIELDS)
    wanted = expected(hub, window, split=SPLITS[split])
    for number_, part in enumerate((feed.train, feed.validation, feed.test)):
        of_part = {key: values for key, values in wanted.items() if values["part"] == number_}
        found = given(part, window)
        if of_part:
            agree(found, of_part, window)
        assert len(found) == len(of_part)


@pytest.mark.parametrize(("how", "options"), [("clustered", {}), ("nothing", {"every": 4})])
def test_events_that_stages_yield(hub, how, options):
    window = win(anchor=[{"$match": {"place": {"$mod": [23, 4]}}}], **options)
    put(hub, how, documents())
    events = [(row["unit"], row["t"]) for row in hub.db.rows.find({"place": {"$mod": [23, 4]}})]
    wanted = expected(hub, window, events=events)
    agree(given(hub.feed("rows", window=window, **FIELDS), window), wanted, window)


def test_windows_of_all_ranks_are_those_of_one_with_and_without_the_cache(hub):
    window = win(max_gap=20)
    put(hub, "clustered", documents())
    spec = nm.Feed("rows", window=window, batch_size=20, shuffle=True, seed=3, **FIELDS)
    wanted = expected(hub, window)
    for cache in (False, True, True):
        for world in (1, 2, 3):
            for even in (False, True):
                feeds = [hub.feed(spec, shard=(rank, world), even=even, cache=cache) for rank in range(world)]
                counts = [len(feed) for feed in feeds]
                found = [given(feed, window) for feed in feeds]
                assert sum(map(len, found)) == len(wanted)
                agree({key: values for each in found for key, values in each.items()}, wanted, window)
                if even:
                    assert len(set(counts)) == 1


def batches(feed):
    return [{name: values.tolist() for name, values in batch.items()} for batch in feed]


def test_two_binds_give_the_same_batches_bit_for_bit(hub):
    put(hub, "index", documents())
    spec = nm.Feed("rows", window=win(every=3), batch_size=32, shuffle=True, seed=1, **FIELDS)
    first = hub.feed(spec)
    one = [batches(first), batches(first)]
    for cache in (True, False):
        again = hub.feed(spec, cache=cache)
        assert [batches(again), batches(again)] == one
    assert one[0] != one[1]


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_goes_on_in_the_middle(hub, how, world):
    window = win(max_gap=20, stride=2)
    put(hub, how, documents())
    spec = nm.Feed("rows", window=window, batch_size=16, shuffle=True, seed=3, **FIELDS)
    first = hub.feed(spec)
    whole, begun = batches(hub.feed(spec)), []
    for batch in first:
        begun.append(batch)
        if len(begun) == 3:
            break
    state = first.state_dict()
    rest = []
    for rank in range(world):
        again = hub.feed(spec, shard=(rank, world), cache=rank == 0)
        again.load_state_dict(state)
        rest += list(again)
    if world == 1:
        assert [{name: values.tolist() for name, values in batch.items()} for batch in [*begun, *rest]] == whole
    agree(given([*begun, *rest], window), expected(hub, window), window)


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
def test_pinned_windows_stay_as_they_were(hub, how):
    window = win(max_gap=20, stride=2)
    put(hub, how, documents())
    spec = nm.Feed("rows", window=window, batch_size=16, **FIELDS)
    feed = hub.feed(spec, cache=False)
    wanted, before = expected(hub, window), batches(feed)
    feed.pin()
    state = feed.state_dict()
    hub.db.rows.delete_many({})
    agree(given(feed, window), wanted, window)
    again = hub.feed(spec, cache=False)
    again.load_state_dict({**state, "parts": {}})
    assert batches(again) == before


def test_a_device_half_of_whose_rows_are_dropped(hub):
    rows = [{"unit": 1, "t": t, "i": t, "air": None if t % 2 else t / 4, "label": t % 5} for t in range(20_000)]
    hub.put("rows", rows, key=("unit", "t"))
    window = win(length=40, horizon=8)
    feed = hub.feed("rows", window=window, missing="drop", batch_size=4096, **FIELDS)
    found = [int(x) for batch in feed for x in batch["x"][:, 0, 0]]
    assert sorted(found) == list(range(0, 20_000 - 2 * 47, 2))


@pytest.mark.parametrize("how", ["clustered", "nothing"])
def test_known_static_and_the_time(hub, how):
    put(hub, how, documents())
    window = nm.Window(by="unit", on="t", length=4, horizon=3, known=["door", "place"], with_time=True)
    inputs = {"seq": ["i", "air"], "static": ["place"]}
    count = 0
    by_number = {row["i"]: row for row in hub.db.rows.find()}
    for batch in hub.feed("rows", inputs=inputs, targets=["air"], window=window, shuffle=True):
        for at, numbers in enumerate(batch["x.seq"][:, :, 0].astype(int).tolist()):
            device, place = by_number[numbers[0]]["unit"], by_number[numbers[0]]["place"]
            steps = sorted((r for r in by_number.values() if r["unit"] == device), key=lambda r: r["t"])[
                place : place + 7
            ]
            assert numbers == [row["i"] for row in steps[:4]]
            assert batch["known"][at].tolist() == [[row["door"], row["place"]] for row in steps[4:]]
            assert batch["y"][at, :, 0].tolist() == [row["air"] for row in steps[4:]]
            assert batch["x.static"][at].tolist() == [steps[3]["place"]]
            assert (batch["device"][at], batch["time"][at]) == (device, steps[3]["t"])
            count += 1
    assert count == sum(max(0, size - 6) for size in SIZES.values())


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust"])
def test_scaled_windows_unscaled_are_the_windows(hub, scale):
    put(hub, "clustered", documents())
    window = win(max_gap=20)
    spec = nm.Feed("rows", inputs=["i", "air"], targets=["air"], window=window, split=nm.Split(on="t", test_from=150))
    plain, scaled = hub.feed(spec), hub.feed(spec.with_(scale=scale))
    for one, other in zip(plain.test, scaled.test, strict=True):
        np.testing.assert_allclose(scaled.unscale(other["x"], "x"), one["x"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(scaled.unscale(other["y"]), one["y"], rtol=1e-4, atol=1e-4)
        assert abs(other["x"]).max() < 5


@pytest.mark.parametrize("how", ["index", "nothing"])
def test_times_that_are_decimals(hub, how):
    window = win(every=4)
    put(hub, how, [{**row, "t": Decimal128(str(row["t"]))} for row in documents()])
    feed = hub.feed("rows", window=window, **FIELDS)
    stages = [{"$set": {"t": {"$toDouble": "$t"}}}]
    agree(given(feed, window), expected(hub, window, stages=stages), window)


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
@pytest.mark.parametrize("window", [{"every": 4}, {"max_gap": "1h"}, {"every": "4s"}])
def test_a_time_in_another_unit_or_none_is_told_wherever_a_chunk_ends(hub, how, window):
    kinds = ["dates" if "max_gap" not in window and window["every"] == 4 else "int"]
    put(hub, how, documents(*kinds))
    with pytest.raises(FieldError, match=r"window: (every|max_gap)=.*, but field t holds (dates|numbers)"):
        list(hub.feed("rows", window=win(**window), **FIELDS))


@pytest.mark.parametrize("how", ["clustered", "index", "nothing"])
def test_texts_are_no_times(hub, how):
    put(hub, how, [{**row, "t": f"{row['t']:05}"} for row in documents()])
    with pytest.raises(
        FieldError, match=r"window: field t (holds texts, not times|of some document is '.*', not a time)"
    ):
        list(hub.feed("rows", window=win(every=4), **FIELDS))


@pytest.mark.parametrize("how", ["clustered", "kept", "plain"])
def test_the_id_of_a_window_is_that_of_its_last_input_step_whichever_chunk_it_is_read_with(hub, how):
    rows = [{"unit": unit, "t": t, "i": t} for unit in "ab" for t in range(3000)]
    put(hub, how, rows)
    pipeline = [{"$sort": {"unit": 1, "t": 1}}] if how == "kept" else None
    window = nm.Window(by="unit", on="t", length=4, horizon=2)
    feed = hub.feed("rows", pipeline=pipeline, inputs="i", targets="i", window=window, scale=None, batch_size=512)
    times = {row["_id"] if how != "clustered" else (row["unit"], row["t"]): row["t"] for row in hub.db.rows.find()}
    last = {}
    for ids, batch in feed.with_ids():
        for identity, steps in zip(ids, batch["x"], strict=True):
            name = (identity["unit"], identity["t"]) if how == "clustered" else identity
            last[name] = (int(steps[-1, 0]), times[name])
    assert len(last) == 2 * (3000 - 5)
    assert all(step == time for step, time in last.values())
