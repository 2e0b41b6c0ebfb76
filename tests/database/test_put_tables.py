"""Arrow tables, pandas and polars frames as rows."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from bson.decimal128 import Decimal128

from nemesyst.database import put, unpack
from nemesyst.errors import RecordError

DATE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def stored(hub):
    """What rows a table makes, without ``_id`` and stamp."""

    def stored(records, **options):
        report = put(hub._connection, hub.db.name, "rows", records, **options)
        assert report.rejected == 0, report.reasons
        found = hub.db.rows.with_options(hub.db.codec_options.with_options(tz_aware=True)).find()
        return [{k: v for k, v in row.items() if k not in ("_id", "_stamp")} for row in found]

    return stored


def test_arrow_values_become_the_databases_own(stored):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "unit": [1, None],
            "air": pa.array([2.5, float("nan")], "float32"),
            "t": pa.array([DATE, None], pa.timestamp("ns", "UTC")),
            "day": pa.array([DATE.date(), None]),
            "price": pa.array([Decimal("1.10"), None]),
            "state": pa.array(["on", None]).dictionary_encode(),
            "tags": [["a"], []],
        }
    )
    first, second = stored(table)
    assert first == {
        "unit": 1, "air": 2.5, "t": DATE, "day": DATE, "price": Decimal128("1.10"), "state": "on", "tags": ["a"],
    }  # fmt: skip
    assert np.isnan(second.pop("air"))
    assert second == {"unit": None, "t": None, "day": None, "price": None, "state": None, "tags": []}


def test_arrow_fixed_size_lists_are_stored_as_arrays(stored):
    pa = pytest.importorskip("pyarrow")
    grid = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.uint8(), 2), 2))
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8, dtype="f4").reshape(2, 2, 2))
    gaps = pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    first, second = stored(pa.table({"grid": grid, "tensor": tensor, "gaps": gaps}))
    np.testing.assert_array_equal(unpack(second["grid"]), np.array([[5, 6], [7, 8]], "uint8"))
    np.testing.assert_array_equal(unpack(first["tensor"]), np.array([[0, 1], [2, 3]], "f4"))
    assert second["gaps"] is None


def test_a_slice_of_an_arrow_table_stores_its_own_rows(stored):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"n": list(range(10)), "v": pa.array([[i, i] for i in range(10)], pa.list_(pa.int16(), 2))})
    rows = stored(table.slice(3, 2))
    assert [(row["n"], list(unpack(row["v"]))) for row in rows] == [(3, [3, 3]), (4, [4, 4])]


def test_record_batches_readers_and_dicts_can_be_mixed(stored):
    pa = pytest.importorskip("pyarrow")
    batch = pa.record_batch({"n": [1, 2]})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    assert [row["n"] for row in stored([{"n": 0}, batch, reader])] == [0, 1, 2, 1, 2]


def test_pandas_frames_keep_named_indexes_and_lose_their_missing_values(stored):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "air": [1.5, np.nan],
            "t": pd.to_datetime(["2026-01-01T00:00Z", None]),
            "n": pd.array([1, None], "Int64"),
            "state": pd.Categorical(["on", None]),
            "text": ["a", None],
            "image": [np.eye(2), None],
        },
        index=pd.Index([7, 8], name="unit"),
    )
    first, second = stored(frame)
    np.testing.assert_array_equal(unpack(first.pop("image")), np.eye(2))
    assert first == {"unit": 7, "air": 1.5, "t": DATE, "n": 1, "state": "on", "text": "a"}
    assert np.isnan(second.pop("air"))
    assert second == {"unit": 8, "t": None, "n": None, "state": None, "text": None, "image": None}


def test_missing_values_of_pandas_in_dicts_become_null(stored):
    pd = pytest.importorskip("pandas")
    assert stored([{"a": pd.NaT, "b": pd.NA, "c": [pd.NaT, 1]}]) == [{"a": None, "b": None, "c": [None, 1]}]


def test_polars_frames_keep_dates_arrays_and_nulls(stored):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "n": [1, None],
            "t": pl.Series([DATE, None], dtype=pl.Datetime("ns", "UTC")),
            "state": pl.Series(["on", None], dtype=pl.Categorical),
            "v": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.UInt8, 2)),
        }
    )
    first, second = stored(frame)
    np.testing.assert_array_equal(unpack(first.pop("v")), np.array([1, 2], "uint8"))
    assert first == {"n": 1, "t": DATE, "state": "on"}
    assert (second["n"], second["t"], second["state"]) == (None, None, None)


@pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars"])
def test_moments_that_differ_by_nanoseconds_do_not_merge_as_keys(hub, library):
    module = pytest.importorskip(library)
    moments = np.array(["2026-01-01T00:00:00.000000001", "2026-01-01T00:00:00.000000002"], "datetime64[ns]")
    make = module.table if library == "pyarrow" else module.DataFrame
    report = put(hub._connection, hub.db.name, "rows", make({"t": moments}), key="t")
    assert (report.stored, report.rejected) == (0, 2)


@pytest.mark.parametrize("columns", [[0, 1], ["a", "a"]])
def test_column_names_that_cannot_be_fields_are_told(stored, columns):
    pd = pytest.importorskip("pandas")
    with pytest.raises(RecordError, match=r"column name 0 is not text|more than one column 'a'"):
        stored(pd.DataFrame([[1, 2]], columns=columns))


def test_a_single_column_and_a_lazy_frame_are_told(stored):
    pl = pytest.importorskip("polars")
    for item in (pl.Series([1]), pl.DataFrame({"a": [1]}).lazy()):
        with pytest.raises(RecordError, match="has no rows with named fields"):
            stored(item)
