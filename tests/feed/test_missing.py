"""Missing and null values: an error by default, or what the feed says."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError

pytestmark = pytest.mark.core


@pytest.fixture
def gaps(hub):
    """Rows 0 to 999; air is missing in every 5th, null in every 7th, label missing in every 11th."""
    rows = []
    for i in range(1000):
        row = {"i": i, "air": i / 2, "label": i % 3}
        if i % 5 == 0:
            del row["air"]
        elif i % 7 == 0:
            row["air"] = None
        if i % 11 == 0:
            del row["label"]
        rows.append(row)
    hub.put("rows", rows, key="i")
    return hub


def has_air(i):
    return i % 5 != 0 and i % 7 != 0


def test_nan_stands_for_what_is_missing(gaps):
    x = gaps.feed("rows", inputs=["i", "air"], missing="nan").to_numpy()["x"]
    assert x.shape == (1000, 2)
    assert [not np.isnan(air) for air in x[:, 1]] == [has_air(i) for i in range(1000)]


def test_a_number_stands_for_what_is_missing_and_targets_stay_whole(gaps):
    rows = gaps.feed("rows", inputs="air", targets="label", missing=-1).to_numpy()
    assert rows["y"].dtype == np.int64
    assert rows["y"].tolist() == [-1 if i % 11 == 0 else i % 3 for i in range(1000)]
    assert (rows["x"][:, 0] == -1).sum() == sum(not has_air(i) for i in range(1000))


def test_rows_with_gaps_are_dropped_with_their_ids(gaps):
    feed = gaps.feed("rows", inputs=["i", "air"], targets="label", missing="drop", batch_size=64)
    ids = [one for batch_ids, _ in feed.with_ids() for one in batch_ids]
    x = feed.to_numpy()["x"]
    assert ids == [i for i in range(1000) if has_air(i) and i % 11]
    assert x[:, 0].tolist() == ids
    assert x[:, 1].tolist() == [i / 2 for i in ids]


def test_dropping_goes_with_a_split(gaps):
    feed = gaps.feed("rows", inputs=["i", "air"], missing="drop", split=nm.Split(test=0.4))
    found = [part.to_numpy()["x"][:, 0].tolist() for part in (feed.train, feed.test)]
    assert sorted(found[0] + found[1]) == [i for i in range(1000) if has_air(i)]


def test_whole_fields_become_floats_where_nan_may_stand(gaps):
    rows = gaps.feed("rows", missing="nan").to_numpy()
    assert (rows["label"].dtype, rows["i"].dtype) == (np.float64, np.float64)
    assert np.isnan(rows["label"][0])


def test_arrays_and_texts_can_be_dropped(hub):
    hub.put(
        "rows",
        [{"i": i, **({"image": np.full((2, 2), i, np.uint8), "name": "a"} if i % 3 else {})} for i in range(9)],
        key="i",
    )
    rows = hub.feed("rows", missing="drop").to_numpy()
    assert rows["i"].tolist() == [1, 2, 4, 5, 7, 8]
    assert rows["image"][:, 0, 0].tolist() == rows["i"].tolist()


def test_rows_that_all_have_gaps_leave_nothing(hub):
    hub.put("rows", [{"i": i, "air": None} for i in range(5)], key="i")
    assert list(hub.feed("rows", inputs="air", missing="drop")) == []


def test_a_text_cannot_be_filled_with_a_number(hub):
    hub.put("rows", [{"name": "a"}, {"other": 1}])
    with pytest.raises(FieldError, match='holds other than numbers(.|\n)*missing="drop"'):
        hub.feed("rows", pipeline=[{"$project": {"name": 1}}], missing=0).to_numpy()


@pytest.mark.parametrize("missing", ["skip", True, None, float("nan"), [0]])
def test_another_choice_is_refused(missing):
    with pytest.raises(FeedError, match="missing="):
        nm.Feed("rows", missing=missing)


def test_the_choice_is_part_of_the_fingerprint():
    assert nm.Feed("rows", missing="nan").fingerprint != nm.Feed("rows", missing=0).fingerprint
