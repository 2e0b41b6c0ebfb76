"""Batches out of a database: the right rows, once, with the documented shapes and dtypes."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError, PipelineError

pytestmark = pytest.mark.core


@pytest.fixture
def telemetry(hub):
    """1,000 rows of 10 units."""
    rows = [
        {"unit": i % 10, "t": i, "air": i / 4, "power": i, "label": i % 3, "name": f"u{i % 10}"} for i in range(1000)
    ]
    hub.put("telemetry", rows, key=("unit", "t"))
    return hub


def test_an_epoch_yields_every_row_once_the_short_last_batch_included(telemetry):
    sizes = [len(batch["x"]) for batch in telemetry.feed("telemetry", inputs="t", batch_size=300)]
    assert sizes == [300, 300, 300, 100]
    assert sorted(telemetry.feed("telemetry", inputs="t").to_numpy()["x"][:, 0]) == list(range(1000))


def test_numbers_stack_to_float32_and_an_integer_target_keeps_int64(telemetry):
    batch = next(iter(telemetry.feed("telemetry", inputs=["air", "power"], targets="label")))
    assert (batch["x"].dtype, batch["x"].shape) == (np.float32, (256, 2))
    assert (batch["y"].dtype, batch["y"].shape) == (np.int64, (256,))


def test_a_float_target_is_stacked(telemetry):
    batch = next(iter(telemetry.feed("telemetry", inputs="power", targets="air")))
    assert (batch["y"].dtype, batch["y"].shape) == (np.float32, (256, 1))


def test_arrays_keep_dtype_and_shape(hub):
    images = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)
    hub.put("images", [{"i": i, "image": image} for i, image in enumerate(images)], key="i")
    x = hub.feed("images", inputs="image").to_numpy()["x"]
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, images)


def test_lists_of_numbers_become_float32(hub):
    hub.put("lists", [{"v": [1, 2.5, 3]}, {"v": [4, 5, 6]}])
    x = hub.feed("lists", inputs="v").to_numpy()["x"]
    assert x.dtype == np.float32
    assert sorted(x.tolist()) == [[1, 2.5, 3], [4, 5, 6]]


def test_without_inputs_each_field_is_an_array_and_the_stamp_is_left_out(telemetry):
    batch = next(iter(telemetry.feed("telemetry", pipeline=[{"$unset": "_id"}])))
    kinds = {name: values.dtype.kind for name, values in batch.items()}
    assert kinds == {"unit": "i", "t": "i", "air": "f", "power": "i", "label": "i", "name": "U"}


def test_batches_are_contiguous_and_writable(telemetry):
    batch = next(iter(telemetry.feed("telemetry", inputs=["air", "power"], shuffle=True)))
    assert batch["x"].flags.c_contiguous
    assert batch["x"].flags.writeable
    assert batch["x"].flags.aligned


def test_a_dotted_name_reaches_into_documents(hub):
    hub.put("nested", [{"i": i, "sensor": {"air": float(i)}} for i in range(3)], key="i")
    assert hub.feed("nested", inputs="sensor.air").to_numpy()["x"].tolist() == [[0], [1], [2]]


def test_a_pipeline_decides_the_rows(telemetry):
    stages = [{"$match": {"unit": {"$param": "unit"}}}, {"$set": {"double": {"$multiply": ["$power", 2]}}}]
    feed = telemetry.feed("telemetry", pipeline=stages, inputs="double", params={"unit": 3})
    assert feed.to_numpy()["x"][:, 0].tolist() == [2 * t for t in range(3, 1000, 10)]


def test_a_group_gives_one_row_for_each_group_in_a_repeatable_order(telemetry):
    stages = [{"$group": {"_id": "$unit", "mean": {"$avg": "$air"}}}]
    feed = telemetry.feed("telemetry", pipeline=stages, inputs="mean", batch_size=4)
    means = [sum(range(unit, 1000, 10)) / 100 / 4 for unit in range(10)]
    assert feed.to_numpy()["x"][:, 0].tolist() == pytest.approx(means)
    assert [len(batch["x"]) for batch in feed] == [4, 4, 2]


def test_many_rows_come_each_once_whatever_the_batches_of_the_server(hub):
    rows = [{"i": i, "t": float(i), "text": "x" * (i % 50)} for i in range(30_000)]
    hub.put("many", rows, key="i")
    split = nm.Split(validation=0.2, test=0.3)
    feed = hub.feed("many", inputs="t", targets="i", batch_size=700, shuffle=True, split=split)
    found = []
    for part in (feed.train, feed.validation, feed.test):
        batches = list(part)
        assert {len(batch["y"]) for batch in batches[:-1]} == {700}
        for batch in batches:
            assert (batch["x"][:, 0] == batch["y"]).all()
        found += [value for batch in batches for value in batch["y"]]
    assert sorted(found) == list(range(30_000))


def test_ids_go_with_their_rows(telemetry):
    split = nm.Split(by="unit", test=0.4)
    for ids, batch in telemetry.feed("telemetry", inputs=["unit", "t"], split=split, shuffle=True).train.with_ids():
        assert [(one["unit"], one["t"]) for one in ids] == [tuple(row) for row in batch["x"].astype(int).tolist()]


def test_a_split_by_a_dotted_name(hub):
    hub.put("rows", [{"i": i, "m": {"device": i % 20}} for i in range(400)], key="i")
    feed = hub.feed("rows", inputs="m.device", split=nm.Split(by="m.device", test=0.5))
    assert set(feed.train.to_numpy()["x"][:, 0]).isdisjoint(feed.test.to_numpy()["x"][:, 0])


def test_a_limit_is_the_limit(telemetry):
    assert len(telemetry.feed("telemetry", pipeline=[{"$limit": 7}], inputs="t").to_numpy()["x"]) == 7


def test_parts_are_disjoint_whole_and_stay_as_data_grows(telemetry):
    split = nm.Split(validation=0.2, test=0.3)

    def parts():
        feed = telemetry.feed("telemetry", inputs="t", split=split)
        return [set(part.to_numpy()["x"][:, 0]) for part in (feed.train, feed.validation, feed.test)]

    before = parts()
    assert sum(map(len, before)) == 1000
    assert len(set.union(*before)) == 1000
    assert 150 < len(before[1]) < 250
    telemetry.put("telemetry", [{"unit": 11, "t": t} for t in range(1000, 1500)], key=("unit", "t"))
    assert all(old <= new for old, new in zip(before, parts(), strict=True))


def test_a_split_by_a_field_keeps_its_rows_together(telemetry):
    feed = telemetry.feed("telemetry", inputs="unit", split=nm.Split(by="unit", test=0.4))
    assert set(feed.train.to_numpy()["x"][:, 0]).isdisjoint(feed.test.to_numpy()["x"][:, 0])


def test_a_field_can_name_the_part(hub):
    hub.put("rows", [{"i": i, "part": "test" if i >= 80 else "train"} for i in range(100)], key="i")
    feed = hub.feed("rows", inputs="i", split=nm.Split(field="part", validation=0.25))
    assert sorted(feed.test.to_numpy()["x"][:, 0]) == list(range(80, 100))
    assert len(feed.train.to_numpy()["x"]) + len(feed.validation.to_numpy()["x"]) == 80


def test_a_field_that_names_no_part_is_told_not_dropped(hub):
    hub.put("rows", [{"i": 0, "part": "train"}, {"i": 1, "part": "tset"}], key="i")
    with pytest.raises(FieldError, match="'tset'"):
        hub.feed("rows", inputs="i", split=nm.Split(field="part")).train.to_numpy()


def test_without_a_split_the_train_part_is_the_feed_and_the_others_are_empty(telemetry):
    feed = telemetry.feed("telemetry", inputs="t")
    assert feed.train is feed
    assert list(feed.test) == []


def test_shuffled_epochs_differ_and_hold_the_same_rows(telemetry):
    feed = telemetry.feed("telemetry", inputs="t", shuffle=True, seed=3)
    first, second = feed.to_numpy()["x"][:, 0], feed.to_numpy()["x"][:, 0]
    assert first.tolist() != second.tolist()
    assert sorted(first) == sorted(second) == list(range(1000))


def test_the_same_seed_and_epoch_give_the_same_batches(telemetry):
    spec = nm.Feed("telemetry", inputs=["t", "air"], targets="label", shuffle=True, seed=3)
    for one, other in zip(telemetry.feed(spec), telemetry.feed(spec), strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])
        np.testing.assert_array_equal(one["y"], other["y"])


def test_each_use_of_the_train_part_is_the_next_epoch(telemetry):
    feed = telemetry.feed("telemetry", inputs="t", split=nm.Split(test=0.1), shuffle=True)
    first = [batch["x"].tolist() for batch in feed.train]
    assert first != [batch["x"].tolist() for batch in feed.train]
    assert feed.train.epoch == 2


def test_rows_are_counted_for_the_lineage(telemetry):
    feed = telemetry.feed("telemetry", inputs="t", split=nm.Split(test=0.1))
    list(feed.train)
    list(feed.test)
    rows = feed.lineage()["rows"]
    assert rows["train"] + rows["test"] == 1000


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([{"v": 1}, {"i": 1}], r"field v is missing in document .*1 of 2 rows"),
        ([{"v": 1}, {"v": None}], "field v is null"),
        ([{"v": 1}, {"v": "warm"}], "kinds differ"),
        ([{"v": b"cold"}, {"v": b"warm"}], "cannot be stacked"),
        ([{"v": [1, 2]}, {"v": [1]}], "cannot be stacked"),
        ([{"v": [1, [2]]}, {"v": [1, 2]}], "ragged"),
        ([{"v": np.zeros(2)}, {"v": np.zeros(3)}], r"float64 \(2,\).*float64 \(3,\)"),
        ([{"v": np.zeros((2, 2))}, {"v": 5}], "holds int: they cannot be stacked"),
    ],
)
def test_values_that_do_not_fit_are_told_with_field_and_document(hub, values, said):
    hub.put("rows", values)
    with pytest.raises(FieldError, match=said):
        hub.feed("rows", inputs="v").to_numpy()


def test_an_array_beside_numbers_cannot_be_stacked(hub):
    hub.put("rows", [{"image": np.zeros((2, 2)), "air": 1.0}])
    with pytest.raises(FieldError, match=r"image holds arrays float64 \(2, 2\)"):
        hub.feed("rows", inputs=["image", "air"]).to_numpy()


def test_a_target_that_changes_its_type_far_in_is_told(hub):
    hub.put("rows", [{"i": i, "label": i if i < 9000 else 0.5} for i in range(9001)], key="i")
    with pytest.raises(FieldError, match="targets: field label is 0.5 in document 9000, and held classes"):
        hub.feed("rows", inputs="i", targets="label").to_numpy()


def test_a_field_that_no_document_has_is_told_before_any_work(telemetry):
    with pytest.raises(FieldError, match="no document of telemetry has field 'pwoer'(.|\n)*power"):
        telemetry.feed("telemetry", inputs="pwoer")


def test_a_collection_that_is_not_there_is_told_with_the_nearest(telemetry):
    with pytest.raises(FeedError, match="no collection 'telemtry'(.|\n)*did you mean telemetry"):
        telemetry.feed("telemtry")


def test_a_pipeline_that_the_server_refuses_is_told_in_its_words(telemetry):
    with pytest.raises(PipelineError, match=r"Unknown expression \$foo"):
        telemetry.feed("telemetry", pipeline=[{"$project": {"x": {"$foo": 1}}}])


def test_an_argument_that_a_feed_does_not_have_is_told(telemetry):
    with pytest.raises(FeedError, match="unexpected keyword argument 'batchsize'"):
        telemetry.feed("telemetry", batchsize=3)


def test_no_cursor_is_left_when_a_reader_stops_early(telemetry):
    def open_cursors():
        return telemetry.db.client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]

    telemetry.put("many", [{"i": i} for i in range(30_000)])
    before = open_cursors()
    batches = iter(telemetry.feed("many", inputs="i"))
    next(batches)
    batches.close()
    assert open_cursors() <= before


def test_the_cutoff_of_a_lineage_binds_the_same_rows(hub):
    hub.put("rows", [{"i": i} for i in range(10)], key="i")
    as_of = hub.feed("rows", inputs="i").lineage()["as_of"]
    hub.put("rows", [{"i": 10}], key="i")
    assert len(hub.feed("rows", inputs="i", as_of=as_of).to_numpy()["x"]) == 10
