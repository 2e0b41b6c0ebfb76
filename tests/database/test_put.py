"""Records into a collection: keys, conflicts, stamps, and what can be read with plain PyMongo afterwards."""

import threading
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from bson import ObjectId, Timestamp

from nemesyst.database import put, unpack
from nemesyst.errors import ConflictError, RecordError, SettingsError

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("unit", "t")


@pytest.fixture
def store(hub):
    """``put`` into the test's own database."""

    def store(records, collection="rows", **options):
        return put(hub._connection, hub.db.name, collection, records, **options)

    return store


def readings(count, first=0):
    return [{"unit": i % 3, "t": START + timedelta(seconds=i), "air": float(i)} for i in range(first, first + count)]


def test_rows_read_back_with_plain_pymongo_and_can_be_queried_by_field(hub, store):
    report = store([{"site": 12, "image": np.eye(2, dtype="uint8")}, {"site": 13, "image": None}])
    row = hub.db.rows.find_one({"site": 12})
    assert (report.stored, report.total) == (2, 2)
    assert isinstance(row["_id"], ObjectId)
    np.testing.assert_array_equal(unpack(row["image"]), np.eye(2))


def test_the_server_stamps_every_row_over_what_a_record_brings(hub, store):
    before = hub.db.command("ping")["operationTime"]
    store([{"a": 1}, {"a": 2, "_stamp": "mine"}])
    assert all(row["_stamp"] > before for row in hub.db.rows.find())


def test_replaced_rows_are_stamped_again(hub, store):
    store(readings(1), key=KEY)
    first = hub.db.rows.find_one()["_stamp"]
    store(readings(1), key=KEY, on_conflict="replace")
    assert isinstance(first, Timestamp)
    assert hub.db.rows.find_one()["_stamp"] > first


def test_a_key_clusters_the_collection_and_stays_in_fields(hub, store):
    store([{"t": 5, "air": 2.0, "unit": 7}], key=KEY)
    row = hub.db.rows.find_one()
    assert list(row["_id"].items()) == [("unit", 7), ("t", 5)]
    assert (row["unit"], row["t"], row["air"]) == (7, 5, 2.0)
    assert "clusteredIndex" in hub.db.rows.options()


def test_a_key_of_one_field_is_the_id_itself(hub, store):
    store([{"serial": "a7", "_id": "gives way"}], key="serial")
    assert hub.db.rows.find_one()["_id"] == "a7"


def test_putting_the_same_records_again_changes_nothing(hub, store):
    first = store(readings(50), key=KEY)
    rows = list(hub.db.rows.find())
    again = store(readings(60), key=KEY)
    assert (first.stored, again.stored, again.unchanged) == (50, 10, 50)
    assert list(hub.db.rows.find({"air": {"$lt": 50}})) == rows


def test_the_first_of_two_records_with_one_key_wins(hub, store):
    report = store([{"k": 1, "v": "first"}, {"k": 1, "v": "second"}], key="k")
    assert (report.stored, report.unchanged) == (1, 1)
    assert hub.db.rows.find_one()["v"] == "first"


def test_replace_takes_the_new_row_whole(hub, store):
    store([{"k": 1, "old": 1}], key="k")
    report = store([{"k": 1, "new": 2}, {"k": 2}], key="k", on_conflict="replace")
    assert (report.replaced, report.stored) == (1, 1)
    row = hub.db.rows.find_one({"_id": 1})
    assert ("old" in row, row["new"]) == (False, 2)


def test_a_conflict_names_the_key_and_the_position_and_keeps_what_came_before(hub, store):
    store([{"k": 7}], key="k")
    with pytest.raises(ConflictError, match=r"record 2: a row with the key 7 .*; 2 rows before it are stored"):
        store(({"k": 5 + i} for i in range(5)), key="k", on_conflict="error")
    assert sorted(hub.db.rows.distinct("k")) == [5, 6, 7]


def test_without_conflict_error_stores_all(store):
    assert store(readings(2500), key=KEY, on_conflict="error", batch_rows=100).stored == 2500


def test_records_that_bring_an_id_keep_it(hub, store):
    assert store([{"_id": "a", "v": 1}]).stored == 1
    assert store([{"_id": "a", "v": 2}]).unchanged == 1
    assert hub.db.rows.find_one()["v"] == 1


@pytest.mark.parametrize("key", [("t", "unit"), "unit", "other"])
def test_another_key_than_the_collections_is_refused_before_any_work(store, key):
    store(readings(1), key=KEY)
    with pytest.raises(SettingsError, match=r"does not fit: the rows of 'rows' are keyed by 'unit' and 't'"):
        store(iter([{"unit": 1, "t": 2, "other": 3}]), key=key)


def test_a_key_for_rows_with_object_ids_is_refused(store):
    store([{"unit": 1}])
    with pytest.raises(SettingsError, match="keyed by their own _id"):
        store([{"unit": 1}], key="unit")


def test_leaving_out_the_key_of_a_keyed_collection_is_refused(store):
    store(readings(1), key=KEY)
    with pytest.raises(SettingsError, match=r"no key was given\n  Give key=\('unit', 't'\)"):
        store(readings(1))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ((), "no field"),
        ("", "is empty"),
        ("a.b", "holds a dot"),
        (("a", "a"), "twice"),
        ("_stamp", "by the server"),
        ((3,), "text"),
    ],
)
def test_a_key_that_cannot_be_one_is_refused(store, key, said):
    with pytest.raises(SettingsError, match=said):
        store([{"a": 1}], key=key)


@pytest.mark.parametrize(
    "name", ["", "a$b", "system.x", "a\0b", "a.rejected", "a.chunks", ".a", "a..b", "x" * 250, None]
)
def test_a_collection_name_that_is_not_allowed_is_refused(store, name):
    with pytest.raises(SettingsError, match=r"^collection: .* (name|holds|ends|long)"):
        store([{"a": 1}], name)


@pytest.mark.parametrize("options", [{"on_conflict": "update"}, {"batch_rows": 0}])
def test_an_option_that_does_not_exist_is_refused(store, options):
    with pytest.raises(SettingsError, match="was given"):
        store([{"a": 1}], **options)


def test_a_view_is_refused_naming_its_collection(hub, store):
    hub.db.create_collection("seen", viewOn="rows", pipeline=[])
    with pytest.raises(SettingsError, match=r"'seen' is a view\n  Put into 'rows' instead"):
        store([{"a": 1}], "seen")


def test_a_time_series_collection_takes_rows_without_key_or_stamp(hub, store):
    hub.db.create_collection("series", timeseries={"timeField": "t"})
    report = store(readings(5), "series")
    assert report.stored == 5
    assert all("_stamp" not in row for row in hub.db.series.find())


def test_a_time_series_collection_takes_no_key(hub, store):
    hub.db.create_collection("series", timeseries={"timeField": "t"})
    with pytest.raises(SettingsError, match="in which no row is unique"):
        store(readings(5), "series", key=KEY)


def test_one_dict_is_one_record_and_other_mappings_count_as_dicts(hub, store):
    assert store({"a": 1}).stored == 1
    assert store([OrderedDict(b=2)]).stored == 1
    assert hub.db.rows.find_one({"b": 2})


@pytest.mark.parametrize("records", ["telemetry.csv", 5, None])
def test_what_is_no_source_of_records_is_told(store, records):
    with pytest.raises(RecordError, match="table or an iterable of dicts was expected"):
        store(records)


def test_no_records_make_an_empty_report(hub, store):
    assert store([], key="k").total == 0
    assert "clusteredIndex" in hub.db.rows.options()


def test_what_came_before_an_error_of_the_source_is_stored(hub, store):
    def source():
        yield from readings(250)
        raise OSError("the cable is out")

    with pytest.raises(OSError, match="the cable is out"):
        store(source(), batch_rows=100)
    assert hub.db.rows.count_documents({}) == 250


def test_an_interrupt_leaves_whole_batches_and_no_thread(hub, store):
    def source():
        yield from readings(250)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(source(), batch_rows=100)
    assert hub.db.rows.count_documents({}) in (100, 200)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nemesyst-put")]


def test_progress_is_told_after_each_batch(store):
    told = []
    store(readings(250), batch_rows=100, progress=lambda rows, size: told.append((rows, size)))
    rows, sizes = zip(*told, strict=True)
    assert rows[-1] == 250
    assert list(rows) == sorted(rows)
    assert sizes[-1] > 250 * 30


def test_large_rows_go_in_several_batches(hub, store):
    report = store({"data": np.full(2**20, i, "uint8")} for i in range(60))
    assert (report.stored, hub.db.rows.count_documents({})) == (60, 60)


def test_nothing_is_lost_when_several_threads_put_the_same_keys(hub, store):
    reports = []
    threads = [
        threading.Thread(target=lambda: reports.append(store(readings(2000), key=KEY, batch_rows=100)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.stored for report in reports) == hub.db.rows.count_documents({}) == 2000
    assert sum(report.unchanged for report in reports) == 6000
