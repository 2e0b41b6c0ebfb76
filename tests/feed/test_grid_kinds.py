"""On a grid: codes and booleans have no mean, and an event is not lost by what follows it in its cell."""

import numpy as np
import pytest

import nemesyst as nm

pytestmark = pytest.mark.core


@pytest.fixture
def rows(hub):
    """Two devices, a reading each second; modes and switches change within cells of four seconds."""
    rows = [
        {"unit": u, "t": t, "air": float(t), "mode": "abc"[t % 3], "on": t % 3 == 0, "n": t % 5}
        for u in range(2)
        for t in range(400)
        if t % 7
    ]
    hub.put("rows", rows, key=("unit", "t"))
    return hub


def last(times, cell, every):
    return max(t for t in times if t // every == cell)


@pytest.mark.parametrize("fill", ["mean", "last", "linear"])
@pytest.mark.parametrize("cache", [True, False])
def test_texts_and_booleans_are_the_last_of_a_cell_and_never_averaged(rows, fill, cache):
    window = nm.Window(by="unit", on="t", length=3, horizon=2, every=4, fill=fill, with_time=True)
    inputs, times = ["mode", "air", "on"], [t for t in range(400) if t % 7]
    for _ in range(2):
        feed = rows.feed("rows", inputs=inputs, targets=["on", "air"], window=window, cache=cache)
        count = 0
        for batch in feed:
            for x, y, t in zip(batch["x"], batch["y"], batch["time"].tolist(), strict=True):
                cells = [t // 4 + step for step in (-2, -1, 0, 1, 2)]
                marks = [last(times, cell, 4) for cell in cells]
                assert x[:, 0].tolist() == [m % 3 for m in marks[:3]]
                assert x[:, 2].tolist() == [m % 3 == 0 for m in marks[:3]]
                assert y[:, 0].tolist() == [m % 3 == 0 for m in marks[3:]]
                means = [np.mean([t for t in times if t // 4 == cell]) for cell in cells]
                np.testing.assert_allclose(x[:, 1], marks[:3] if fill == "last" else means[:3])
                count += 1
        assert count == 2 * (100 - 4)


def test_empty_cells_hold_the_last_text_also_on_a_line(hub):
    hub.put("rows", [{"t": t, "air": float(t), "mode": "ab"[t // 8 % 2]} for t in (0, 8, 16)], key="t")
    window = nm.Window(on="t", length=5, horizon=0, every=4, max_gap=8, fill="linear")
    x = hub.feed("rows", inputs=["air", "mode"], window=window).to_numpy()["x"][0]
    assert x.tolist() == [[0, 0], [4, 0], [8, 1], [12, 1], [16, 0]]


def test_booleans_that_may_be_nan_are_filled_like_other_gaps(hub):
    flags = [True, None, None, False, True]
    hub.put("rows", [{"t": t, "on": flag, "air": 1.0} for t, flag in enumerate(flags)], key="t")
    window = nm.Window(on="t", length=5, horizon=0, every=1, max_gap=3)
    batch = hub.feed("rows", inputs=["on", "air"], window=window, missing="nan").to_numpy()
    assert batch["x"][0, :, 0].tolist() == [1, 1, 1, 0, 1]
    assert batch["mask"][0, :, 0].tolist() == [1, 0, 0, 1, 1]


def flips(hub, doors, **options):
    hub.put("rows", [{"t": t, "door": door, "air": float(t)} for t, door in enumerate(doors)], key="t")
    window = nm.Window(on="t", length=2, every=4, anchor="door", with_time=True, **options)
    return hub.feed("rows", inputs="air", targets="air", window=window).to_numpy()["time"].tolist()


def test_a_change_that_is_taken_back_in_its_cell_is_an_event(hub):
    doors = [0] * 40
    doors[17] = 1  # opens and closes again within the cell from 16
    assert flips(hub, doors) == [12]


def test_several_changes_in_one_cell_make_one_window_and_those_of_others_their_own(hub):
    doors = [0] * 40
    doors[13] = doors[15] = doors[22] = 1
    assert flips(hub, doors) == [8, 12, 16]  # 13, 14, 15 in the cell from 12; back at 16; 22 and 23 in that from 20


def test_without_a_horizon_the_cell_of_the_event_is_the_last_input_step(hub):
    doors = [0] * 40
    doors[17] = 1
    assert flips(hub, doors, horizon=0) == [16]
