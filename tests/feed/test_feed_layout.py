"""Dtypes and gaps do not depend on which chunk a row is in."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nemesyst.errors import FieldError

sys.path.insert(0, str(Path(__file__).parent))

from reference import samples_of

pytestmark = pytest.mark.core


def test_fields_of_their_own_come_with_their_dtypes(hub):
    rows = [
        {"_id": i, "i": i, "f": i / 2, "s": f"s{i}", "d": datetime(2024, 1, 1) + timedelta(seconds=i), "b": i % 2 == 0}
        for i in range(300)
    ]
    hub.db["rows"].insert_many(rows)
    found = [batch for rank in range(2) for batch in hub.feed("rows", shard=(rank, 2), batch_size=50, shuffle=True)]
    assert {name: values.dtype.kind for name, values in found[0].items()} == dict(
        zip(("_id", *"ifsdb"), "iifUMb", strict=True)
    )
    given = sorted(
        (int(one["i"]), float(one["f"]), str(one["s"]), one["d"].item(), bool(one["b"])) for one in samples_of(found)
    )
    assert given == [(row["i"], row["f"], row["s"], row["d"], row["b"]) for row in rows]


def test_a_field_that_no_first_row_has_is_told_not_lost(hub):
    hub.db["rows"].insert_many([{"_id": i, "n": i, **({"late": 1} if i >= 2000 else {})} for i in range(3000)])
    for missing in ("error", "drop", "nan", 0):
        with pytest.raises(FieldError, match="field late is in document 2000, and in none of the first rows"):
            hub.feed("rows", missing=missing).to_numpy()


@pytest.mark.parametrize("missing", ["drop", "nan", -1])
def test_a_field_may_be_missing_in_all_rows_of_a_chunk(hub, missing):
    def row(i):
        there = not 200 <= i < 500
        packed, text = np.full((2, 2), i % 200, np.uint8), "ab"[i % 2]
        return {
            "_id": i,
            "i": i,
            **({"label": float(i), "list": [i, 1], "packed": packed, "text": text} if there else {}),
        }

    hub.put("rows", [row(i) for i in range(700)])
    kept = [i for i in range(700) if missing != "drop" or not 200 <= i < 500]
    for inputs, targets in ((["i"], "label"), (["i", "text"], None), ("list", None), ("packed", None)):
        if inputs == "packed" and missing == -1:
            continue
        found = hub.feed("rows", inputs=inputs, targets=targets, missing=missing).to_numpy()
        assert len(found["x"]) == len(kept)
        gaps = np.array([200 <= i < 500 for i in kept])
        if targets:
            assert found["y"].reshape(-1)[~gaps].tolist() == [i for i in kept if not 200 <= i < 500]
            assert not gaps.any() or (
                np.isnan(found["y"][gaps]).all() if missing == "nan" else set(found["y"][gaps].flat) == {-1}
            )
        elif inputs == ["i", "text"]:
            assert set(found["x"][gaps, 1]) <= {2}
        elif gaps.any():
            assert np.isnan(found["x"][gaps]).all() if missing == "nan" else (found["x"][gaps] == -1).all()


def test_rows_that_are_all_dropped_at_first_leave_the_layout_to_the_next(hub):
    hub.db["rows"].insert_many([{"_id": i, "n": i, **({"label": i} if i >= 1500 else {})} for i in range(2000)])
    feed = hub.feed("rows", inputs="n", targets="label", missing="drop")
    assert feed._family.binding.chunks.source.layout["y"][0] == np.int64
    assert feed.to_numpy()["y"].tolist() == list(range(1500, 2000))


def test_a_number_that_a_boolean_cannot_be_does_not_become_one(hub):
    hub.db["rows"].insert_many([{"_id": 0, "on": True}, {"_id": 1, "on": None}, {"_id": 2, "on": False}])
    assert hub.feed("rows", missing=-1).to_numpy()["on"].tolist() == [1, -1, 0]
    assert hub.feed("rows", missing=0).to_numpy()["on"].tolist() == [True, False, False]
