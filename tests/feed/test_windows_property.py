"""Wherever a collection is cut into chunks, its windows are those of plain loops over all of it, each once."""

import importlib.util
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemesyst.feed.windows import Events, Window

pytestmark = [pytest.mark.core, pytest.mark.slow]

found = importlib.util.spec_from_file_location("windows_reference", Path(__file__).with_name("windows_reference.py"))
loops = importlib.util.module_from_spec(found)
found.loader.exec_module(loops)


@st.composite
def collections(draw):
    """Rows in the order of arrival, borders of chunks, and events; dense, so that most windows meet one of them."""
    random = draw(st.randoms(use_true_random=False))
    devices, until = random.randint(1, 3), random.choice([20, 60])
    gaps, strays = random.choice([0, 0, 0.1, 0.5]), random.choice([0, 0, 0.02, 0.2])
    steady = random.random() < 0.5  # a field that two devices share, and that changes seldom

    def row(unit, t):
        x = tuple(math.nan if random.random() < gaps else float(random.randint(-8, 8)) for _ in range(2))
        door = int(t // 9 % 2) if steady else random.randint(0, 1)
        part = int(random.random() < strays) or int(strays > 0 and t > 25)
        return {"by": unit, "t": t, "part": part, "x": x, "y": random.randint(0, 9), "anchor": door}

    rows = [row(random.randrange(devices), random.randint(-20, until)) for _ in range(random.choice([0, 9, 60, 150]))]
    places = {
        (random.randrange(devices + 1), random.choice([None, *range(-22, until + 4)]))
        for _ in range(random.choice([0, 2, 6, 30]))
    }
    marks = [(random.randrange(devices + 1), random.randint(-25, until + 5)) for _ in range(random.randint(0, 12))]
    return rows, sorted(places, key=place), marks


def place(cut):
    return cut[0], -math.inf if cut[1] is None else cut[1]


@st.composite
def windows(draw):
    every = draw(st.one_of(st.none(), st.integers(1, 5)))
    gap = draw(st.integers(1, 14)) if every is None else draw(st.integers(every, 14))
    anchor = draw(st.sampled_from([None, None, "door", [{"$match": {}}]]))
    length = draw(st.integers(1, 5))
    return Window(
        by=draw(st.sampled_from(["unit", "unit", None])), on="t", every=every, length=length,
        horizon=draw(st.integers(1 if anchor and length == 1 else 0, 3)),
        max_gap=draw(st.sampled_from([gap, None])), anchor=anchor,
        stride=1 if anchor else draw(st.integers(1, 4)),
        fill=None if every is None else draw(st.sampled_from(["mean", "last", "linear"])),
        with_time=True,
    )  # fmt: skip


def in_order(window, collection):
    """Rows as they are read, borders and events; with one device where the window knows none."""
    rows, cuts, marks = collection
    if window.by is None:
        rows = [{**row, "by": None} for row in rows]
        cuts = [(None, time) for time in sorted({time for _, time in cuts if time is not None})]
        return sorted(rows, key=lambda row: row["t"]), cuts, [(None, time) for _, time in marks]
    return sorted(rows, key=lambda row: (row["by"], row["t"])), cuts, marks


def by_key(window, read):
    """Windows of the chunks by (device, time of the first step)."""
    windows = {}
    for made, batch in read:
        first = made.table.arrays["#on"][made.starts].astype(np.float64)
        devices = made.table.arrays["#by"][made.starts] if window.by else np.full(len(first), None)
        for n, key in enumerate(zip(devices.tolist(), first.tolist(), strict=True)):
            assert key not in windows, "a window came twice"
            windows[key] = {**{name: values[n] for name, values in batch.items()}, "part": made.parts[n]}
    return windows


@settings(max_examples=300, deadline=None)
@given(windows(), collections(), st.sampled_from([np.int64, np.float64]))
def test_chunks_give_the_windows_of_plain_loops(window, collection, on):
    rows, cuts, marks = in_order(window, collection)
    events = Events(np.array([m[1] for m in marks], on), np.array([m[0] for m in marks]) if window.by else None)
    read = by_key(window, loops.read_in_chunks(window, rows, cuts, on, events))
    expected = loops.reference(window, rows, marks)
    assert read.keys() == expected.keys()
    for key, want in expected.items():
        got = read[key]
        assert got["part"] == want["part"]
        np.testing.assert_allclose(got["x"], want["x"], rtol=1e-6, atol=1e-6)
        assert np.atleast_1d(got["y"]).tolist() == want["y"]
        if window.every is not None:
            assert got["mask"].tolist() == [list(step) for step in want["mask"]]


@settings(max_examples=100, deadline=None)
@given(windows(), collections())
def test_bytes_of_a_window_do_not_depend_on_the_chunk(window, collection):
    rows, cuts, _ = in_order(window, collection)
    rows = [{**row, "x": (row["x"][0] / 3, row["x"][1] / 7)} for row in rows]
    whole, cut = (by_key(window, loops.read_in_chunks(window, rows, each, np.int64)) for each in ([], cuts))
    assert whole.keys() == cut.keys()
    for key, values in whole.items():
        assert all(np.asarray(values[name]).tobytes() == np.asarray(cut[key][name]).tobytes() for name in values)


@settings(max_examples=60, deadline=None)
@given(windows(), collections())
def test_dates_give_the_windows_of_their_milliseconds(window, collection):
    rows, cuts, _ = in_order(window, collection)
    values = window.as_dict()
    for name in ("every", "max_gap"):
        values[name] = None if values[name] is None else f"{values[name]}ms"
    if not isinstance(window.anchor, str):
        values["anchor"] = None
    dates, numbers = Window(**values), Window(**{**window.as_dict(), "anchor": values["anchor"]})
    one = by_key(dates, loops.read_in_chunks(dates, rows, cuts, "datetime64[ms]"))
    two = by_key(numbers, loops.read_in_chunks(numbers, rows, cuts, np.int64))
    assert one.keys() == two.keys()
    assert all(one[key]["x"].tobytes() == two[key]["x"].tobytes() for key in one)


@settings(max_examples=60, deadline=None)
@given(windows(), collections())
def test_times_of_a_field_s_changes_are_the_field_itself(window, collection):
    rows, _, _ = in_order(window, collection)
    rows = list({(row["by"], row["t"]): row for row in rows}.values())
    if window.span < 2:
        return
    pairs = pairwise(rows)
    changes = [b for a, b in pairs if a["by"] == b["by"] and a["anchor"] != b["anchor"]]
    events = Events(
        np.array([row["t"] for row in changes], np.int64),
        np.array([row["by"] for row in changes]) if window.by else None,
    )
    base = {**window.as_dict(), "stride": 1}
    field, times = Window(**{**base, "anchor": "door"}), Window(**{**base, "anchor": [{"$match": {}}]})
    one = by_key(field, loops.read_in_chunks(field, rows, [], np.int64))
    two = by_key(times, loops.read_in_chunks(times, rows, [], np.int64, events))
    assert one.keys() == two.keys()
