"""Windows: what they hold, and how a specification is refused."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import FeedError, FieldError, PipelineError
from nemesyst.feed.table import Table
from nemesyst.feed.windows import Border, Borders, Events, Window, arranged, carried, duration, gathered, margin
from nemesyst.feed.windows.durations import canonical
from nemesyst.feed.windows.gather import sequences

pytestmark = pytest.mark.core

NAN = float("nan")


def batch(window, on, events=None, **arrays):
    """All windows of a table that is one chunk."""
    arrays = {name.replace("own_", "#"): np.asarray(values) for name, values in arrays.items()}
    made = arranged(window, Table({"#on": np.asarray(on), **arrays}), Borders(), events=events)
    return gathered(window, made.table.arrays, made.starts)


def column(values):
    return np.array(values, np.float32)[:, None]


def series(window, on, values, **more):
    """The inputs of each window over one field, as lists."""
    return batch(window, on, x=column(values), **more)["x"][..., 0].tolist()


def test_inputs_and_targets_follow_each_other():
    made = batch(Window(on="t", length=3, horizon=2), range(6), x=column(range(6)), y=np.arange(6))
    assert made["x"].shape == (2, 3, 1)
    assert made["x"].dtype == np.float32
    assert made["x"].flags.c_contiguous
    assert made["x"].flags.writeable
    assert made["y"].tolist() == [[3, 4], [4, 5]]


def test_without_a_horizon_the_target_is_that_of_the_last_step():
    made = batch(Window(on="t", length=3, horizon=0), range(4), x=column(range(4)), y=np.arange(4))
    assert made["y"].tolist() == [2, 3]


def test_known_inputs_weights_and_static_ones_have_their_own_places():
    window = Window(on="t", length=2, horizon=2, known="price", with_time=True)
    made = batch(window, range(4), x=column(range(4)), known=column([5, 6, 7, 8]), static=column([1, 1, 1, 1]),
                 weight=np.arange(4.0), own_by=["a"] * 4)  # fmt: skip
    assert made["known"].tolist() == [[[7], [8]]]
    assert made["weight"].tolist() == [[2, 3]]
    assert made["static"].tolist() == [[1]]
    assert (made["device"].tolist(), made["time"].tolist()) == (["a"], [1])


def test_no_window_reaches_across_devices_gaps_or_parts():
    window = Window(by="unit", on="t", length=2, horizon=0, max_gap=1)
    on, unit, part = [0, 1, 0, 1, 3, 4, 5, 6], [0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]
    made = series(window, on, range(8), own_by=unit, own_part=np.array(part, np.int8))
    assert made == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_of_rows_with_one_time_the_last_counts():
    assert series(Window(on="t", length=3, horizon=0), [0, 1, 1, 2], [0, 10, 11, 2]) == [[0, 11, 2]]


def test_a_stride_counts_from_the_device_s_first_row():
    window = Window(by="unit", on="t", length=1, horizon=0, stride=2)
    assert series(window, [5, 6, 7, 1, 2], range(5), own_by=[0, 0, 0, 1, 1]) == [[0], [2], [3]]


def test_a_stride_on_a_grid_counts_from_time_zero():
    window = Window(on="t", length=1, horizon=0, stride=2, every=10)
    assert series(window, [10, 20, 30, 40], range(4)) == [[1], [3]]


@pytest.mark.parametrize(
    ("fill", "expected"), [("mean", [2, 2, 2, 8, 9]), ("last", [3, 3, 3, 8, 9]), ("linear", [2, 4, 6, 8, 9])]
)
def test_a_grid_is_filled(fill, expected):
    window = Window(on="t", length=5, horizon=0, every="10s", fill=fill)
    on = np.array([1_000, 9_000, 30_500, 41_000], "datetime64[ms]")
    made = batch(window, on, x=column([1, 3, 8, 9]))
    assert made["x"][0, :, 0].tolist() == expected
    assert made["mask"][0, :, 0].tolist() == [1, 0, 0, 1, 1]


def test_a_line_does_not_tell_the_inputs_what_comes_after_them():
    window = Window(on="t", length=2, horizon=2, every=1, fill="linear")
    made = batch(window, [0, 3], x=column([0, 6]), y=column([0, 6]))
    assert made["x"][0, :, 0].tolist() == [0, 0]
    assert made["y"][0, :, 0].tolist() == [4, 6]
    assert made["mask.y"][0, :, 0].tolist() == [0, 1]


def test_cells_are_not_filled_across_a_gap():
    window = Window(on="t", length=2, horizon=0, every=10, max_gap=20)
    assert series(window, [0, 20, 50, 60], [0, 1, 2, 3]) == [[0, 0], [0, 1], [2, 3]]


def test_a_reading_that_is_nan_is_filled_like_a_missing_one_and_stays_nan_beyond_reach():
    window = Window(on="t", length=6, horizon=0, every=1, max_gap=1)
    made = batch(window, range(6), x=column([1, NAN, 3, NAN, NAN, 6]))
    np.testing.assert_equal(made["x"][0, :, 0], np.array([1, 1, 3, NAN, NAN, 6], np.float32))
    assert made["mask"][0, :, 0].tolist() == [1, 0, 1, 0, 0, 1]


def test_classes_and_texts_take_the_last_reading():
    window = Window(on="t", length=2, horizon=0, every=10)
    made = batch(window, [0, 5, 10], y=np.array([1, 2, 7]), state=np.array(["a", "b", "c"]))
    assert made["y"].tolist() == [7]
    assert made["state"].tolist() == [["b", "c"]]


def test_a_cell_whose_readings_are_of_two_parts_belongs_to_no_window():
    window = Window(on="t", length=1, horizon=0, every=10)
    assert series(window, [0, 10, 15, 20], range(4), own_part=np.array([0, 0, 1, 1], np.int8)) == [[0], [3]]


def test_fractions_that_mean_a_cell_s_beginning_are_in_it():
    window = Window(on="t", length=1, horizon=0, every=0.1, with_time=True)
    made = batch(window, np.arange(10) / 10, x=column(range(10)))
    assert made["x"].ravel().tolist() == list(range(10))


def test_the_row_with_a_new_value_is_the_first_of_the_horizon():
    window = Window(by="unit", on="t", length=2, horizon=1, anchor="door")
    made = batch(window, [0, 1, 2, 3, 0, 1, 2], x=column(range(7)), y=np.arange(7),
                 own_by=[0, 0, 0, 0, 1, 1, 1], own_anchor=[0, 0, 1, 1, 0, 0, 0])  # fmt: skip
    assert made["x"][..., 0].tolist() == [[0, 1]]
    assert made["y"].tolist() == [[2]]


def test_events_may_be_of_other_devices_and_lie_between_rows():
    window = Window(by="unit", on="t", length=1, horizon=1, anchor=[{"$match": {"alarm": True}}])
    on = np.array([0, 10, 20, 0, 10], "datetime64[s]").astype("datetime64[ms]")
    events = Events(np.array([15_000, 20_000, 9_000, 1_000], "datetime64[ms]"), np.array(["a", "a", "b", "c"]))
    assert series(window, on, range(5), own_by=["a", "a", "a", "b", "b"], events=events) == [[1], [3]]


def test_windows_of_arrays_keep_dtype_and_shape():
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    made = batch(Window(on="t", length=2, horizon=0), range(4), x=images)["x"]
    assert made.dtype == np.uint8
    assert (made[2] == images[2:]).all()


@given(st.integers(1, 4), st.sampled_from(["f4", "u1", "i8", "M8[ms]", "U3", object]), st.integers(0, 9))
def test_sequences_are_those_of_plain_indexing(length, dtype, count):
    values = np.arange(20).reshape(10, 2).astype(np.int64).astype(dtype)
    values.flags.writeable = False
    starts = np.random.default_rng(count).integers(0, 10 - length + 1, count)
    assert (sequences(values, starts, length) == values[starts[:, None] + np.arange(length)]).all()


def test_a_memory_map_is_read_where_windows_are(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40, dtype=np.float32).reshape(20, 2))
    made = sequences(np.load(tmp_path / "x.npy", mmap_mode="r"), np.array([17, 0]), 3)
    assert type(made) is np.ndarray
    assert made[1].tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("every", [None, 5])
def test_a_chunk_without_rows_has_no_windows(every):
    window = Window(by="unit", on="t", length=2, every=every)
    made = batch(window, np.empty(0, np.int64), x=np.empty((0, 3), np.float32), own_by=np.empty(0, np.int64))
    assert made["x"].shape == (0, 2, 3)


def test_margins_are_told_in_the_unit_of_time():
    need = margin(Window(on="t", length=4, horizon=2, every="10s"))
    assert (need.after, need.before) == (timedelta(seconds=100), timedelta(seconds=40))
    assert margin(Window(on="t", length=4, horizon=2)).steps == 6


def test_borders_are_moments_as_stored():
    window = Window(by="unit", on="t", length=1, horizon=0)
    table = Table({"#on": np.arange(5).astype("datetime64[h]").astype("datetime64[ms]"), "#by": np.array(["a"] * 5)})
    edges = (Border("a", datetime(1970, 1, 1, hour, tzinfo=zone)) for hour, zone in ((1, None), (3, UTC)))
    assert arranged(window, table, Borders(*edges)).starts.tolist() == [1, 2]


STORED = [
    (np.array([7]).astype("datetime64[ms]"), DatetimeMS(7)), (np.array([2.5]), Decimal128("2.5")),
    (np.array([UUID(int=5)]), Binary.from_uuid(UUID(int=5))), (np.array(["a"]), "a"), (np.array([3]), Int64(3)),
]  # fmt: skip


@pytest.mark.parametrize(("devices", "stored"), STORED, ids=lambda value: type(value).__name__)
def test_devices_are_known_by_what_is_stored(devices, stored):
    window = Window(by="unit", on="t", length=1, horizon=0)
    table = Table({"#on": np.arange(5).astype("datetime64[ms]"), "#by": np.repeat(devices, 5)})
    borders = Borders(Border(stored, DatetimeMS(1)), Border(stored, DatetimeMS(3)))
    assert arranged(window, table, borders).starts.tolist() == [1, 2]


def test_a_margin_is_enough_when_its_last_time_is_whole_or_its_device_ends():
    need = margin(Window(on="t", length=2, horizon=1))
    assert need.wanted(np.array([1, 2, 3]), 3) == 0
    assert need.wanted(np.array([1, 2, 2]), 3) == 6
    assert need.wanted(np.array([1, 2]), 3) == 0
    assert need.wanted(np.array([1, 2]), 3, read=3) == 6
    assert need.wanted(np.array([]), 3, read=3) == 6


def test_nothing_is_carried_out_of_a_chunk_without_rows_into_another_device():
    window = Window(by="unit", on="t", length=1, stride=2)
    assert carried(window, Table({}), Borders(Border(0, 5), Border(1, 5)), before=3) == 0
    assert carried(window, Table({}), Borders(Border(0, 5), Border(0, 9)), before=3) == 3


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("10s", 10_000), ("1min", 60_000), ("60 seconds", 60_000), ("1.5h", 5_400_000), ("1h30min", 5_400_000),
     ("7d", 604_800_000), ("1w", 604_800_000), ("250ms", 250), ("0.29s", 290), (timedelta(minutes=2), 120_000)],
)  # fmt: skip
def test_lengths_of_time_are_read(text, milliseconds):
    assert duration(text) == milliseconds
    assert duration(canonical(text)) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "s", "10 parsecs", "-5s", "0s", "0.1ms", "1M", "5s later"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(FeedError, match="is not a length of time"):
        duration(text)


def test_a_window_is_the_same_however_it_is_spelt():
    one = Window(by="unit", on="t", length=3, every="60s", known="price", anchor=[{"$match": {}}])
    two = Window(by="unit", on="t", length=3, every="1min", max_gap="180s", fill="mean", known=["price"],
                 anchor=({"$match": {}},))  # fmt: skip
    assert one.as_dict() == two.as_dict()
    assert Window.from_dict(one.as_dict()) == one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length=0"),
        ({"length": 2.5}, "length=2.5"),
        ({"horizon": -1}, "horizon=-1"),
        ({"stride": True}, "stride=True"),
        ({"on": ""}, "on='' is not the name of a field"),
        ({"by": ["unit"]}, "by="),
        ({"every": "10"}, "every='10' is not a length of time"),
        ({"every": 0}, "every=0 is not a length of time"),
        ({"every": "10s", "max_gap": 30}, "not in one unit"),
        ({"every": "10s", "max_gap": "5s"}, "max_gap='5s' is shorter"),
        ({"fill": "last"}, "without every"),
        ({"every": "10s", "fill": "lin"}, "fill='lin'"),
        ({"known": ["a", "a"]}, "twice"),
        ({"known": ["a"], "horizon": 0}, "known= with horizon=0"),
        ({"anchor": "door", "stride": 2}, "stride=2 with anchor"),
        ({"anchor": []}, "no stages"),
        ({"anchor": "door", "length": 1, "horizon": 0}, "anchor with length=1"),
        ({"with_time": 1}, "with_time=1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(FeedError, match=message) as raised:
        Window(**{"on": "t", "length": 4, **arguments})
    assert raised.value.remedy


def test_stages_of_events_may_not_write():
    with pytest.raises(PipelineError, match=r"\$out"):
        Window(on="t", length=4, anchor=[{"$out": "elsewhere"}])


def test_an_unknown_argument_of_a_stored_window_is_told():
    with pytest.raises(FeedError, match="did you mean length"):
        Window.from_dict({"on": "t", "lenght": 4})


@pytest.mark.parametrize(
    ("on", "every", "message"),
    [
        (np.arange(3), "10s", "every='10s', but field t holds numbers"),
        (np.arange(3).astype("datetime64[ms]"), 10, "every=10, but field t holds dates"),
        (np.array(["a", "b"]), None, "field t holds texts, not times"),
        (np.array([1.0, NAN]), None, "field t is NaN or infinite in 1 rows"),
    ],
)
def test_times_that_do_not_fit_are_told(on, every, message):
    with pytest.raises(FieldError, match=message):
        batch(Window(on="t", length=1, every=every), on, x=column(range(len(on))))
