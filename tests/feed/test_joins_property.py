"""Joins over time against a loop, and against pandas: any times, devices, ways to read, and rows that are left out."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from joins_reference import AsOf, check, joined, reference

START = datetime(2024, 1, 1)
DEVICES = {
    "numbers": [1, 2, 3, 7],
    "texts": ["a", "bb", "ünit", ""],
    "ids": [ObjectId(f"{i:024x}") for i in range(4)],
}


def device_values(values):
    made = np.empty(len(values), object)
    made[:] = values
    return made if values and isinstance(values[0], ObjectId) else np.array(values)


@st.composite
def cases(draw):
    """Documents of the other side, rows of the feed, and how to join them."""
    kind = draw(st.sampled_from([None, "numbers", "texts", "ids"]))
    dates = draw(st.booleans())
    times = st.integers(0, 40)
    devices = DEVICES[kind or "numbers"]
    others = draw(st.lists(st.tuples(st.sampled_from(devices), times, st.integers(0, 9)), min_size=1, max_size=40))
    ours = draw(st.lists(st.tuples(st.sampled_from(devices), times), min_size=1, max_size=30))
    tolerance = draw(st.sampled_from([None, 0, 3, 10]))
    hide = draw(st.sets(st.integers(0, len(others) - 1)))
    way = draw(st.sampled_from(["whole", "index", "scan"]))
    return kind, dates, others, ours, tolerance, hide, way


def documents_of(others, dates):
    found = []
    for i, (device, time, value) in enumerate(others):
        on = START + timedelta(seconds=time) if dates else (time if i % 2 else float(time))
        document = {"_id": i, "d": device, "t": on, "v": value, "w": f"w{value}"}
        if value == 9:  # some rows lack a field: then it is missing, and no older one stands for it
            del document["v"]
        found.append(document)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_join_is_what_a_loop_finds(hub, case):
    kind, dates, others, ours, tolerance, hide, way = case
    documents = documents_of(others, dates)
    if not any("v" in each for each in documents):
        documents[0]["v"] = 0
    hub.db["other"].drop()
    hub.db["other"].insert_many(documents[::-1])  # natural order is not the order of _id
    if way == "index":
        hub.db["other"].create_index([("d", 1), ("t", 1)] if kind else [("t", 1)])
    limit = f"{tolerance}s" if dates and tolerance else tolerance
    spec = AsOf("other", by={"unit": "d"} if kind else None, on={"at": "t"}, fields=["v", "w"], tolerance=limit)
    by = device_values([device for device, _ in ours]) if kind else None
    plain = [START + timedelta(seconds=time) if dates else time for _, time in ours]
    on = np.array(plain, "datetime64[ms]") if dates else np.array(plain)
    columns = joined(hub, spec, by, on, hidden=hide, keep=0 if way != "whole" else 64 << 20)
    check(columns, reference(documents, spec, [device for device, _ in ours], plain, hide), spec)


@pytest.mark.parametrize("tolerance", [None, "20s"])
def test_it_is_what_pandas_finds(hub, tolerance):
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(3)
    right = pandas.DataFrame({"d": random.integers(0, 50, 5000), "t": random.integers(0, 3_000_000, 5000)})
    right["v"] = random.normal(size=5000)
    right = right.drop_duplicates(["d", "t"]).sort_values("t")
    right["t"] = pandas.to_datetime(right["t"], unit="ms").astype("datetime64[ms]")
    left = pandas.DataFrame({"d": random.integers(0, 60, 8000), "t": random.integers(0, 3_000_000, 8000)})
    left["t"] = pandas.to_datetime(left["t"], unit="ms").astype("datetime64[ms]")
    left = left.sort_values("t").reset_index(drop=True)
    hub.db["other"].insert_many(right.to_dict("records"))
    hub.db["other"].create_index([("d", 1), ("t", 1)])
    limit = None if tolerance is None else pandas.Timedelta(tolerance)
    wanted = pandas.merge_asof(left, right, on="t", by="d", tolerance=limit)["v"].to_numpy()
    order = random.permutation(len(left))
    by, on = left["d"].to_numpy()[order], left["t"].to_numpy().astype("datetime64[ms]")[order]
    spec = AsOf("other", by="d", on="t", fields="v", tolerance=tolerance)
    for keep, seek in ((64 << 20, "index"), (0, "index"), (0, None)):
        np.testing.assert_array_equal(joined(hub, spec, by, on, keep=keep, seek=seek)["v"].values, wanted[order])
