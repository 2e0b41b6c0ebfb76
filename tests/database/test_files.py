"""Files as records, and what is said of broken ones."""

import gzip
from datetime import UTC, datetime

import pytest
from bson import ObjectId

from nemesyst.database import open_source, put
from nemesyst.errors import RecordError

DATE = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def write(name, content):
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def records(path):
    return [row.record for row in open_source(path)]


def test_csv_types_are_found_and_empty_cells_left_out(write):
    path = write(
        "a.csv",
        "unit,air,door,t,state,code\n1,2,true,2026-01-01T12:00:00Z,on,007\n2,2.5,FALSE,2026-01-01,,08\n\n3,,,,,\n",
    )
    assert open_source(path).fields == {
        "unit": "int", "air": "float", "door": "bool", "t": "date", "state": "str", "code": "str",
    }  # fmt: skip
    assert records(path) == [
        {"unit": 1, "air": 2.0, "door": True, "t": DATE, "state": "on", "code": "007"},
        {"unit": 2, "air": 2.5, "door": False, "t": datetime(2026, 1, 1, tzinfo=UTC), "code": "08"},
        {"unit": 3},
    ]


@pytest.mark.parametrize(
    ("name", "mark"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.csv.gz", ";")]
)
def test_the_delimiter_is_found(write, name, mark):
    path = write(name, f'a{mark}"b c"{mark}d\n1{mark}"x, y; z"{mark}3\n')
    assert records(path) == [{"a": 1, "b c": "x, y; z", "d": 3}]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data(write):
    assert records(write("a.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n")) == [{"a": 1, "b": "x"}]


def test_dates_with_a_zone_become_utc(write):
    assert records(write("a.csv", "t\n2026-01-01 14:00:00+02:00\n")) == [{"t": DATE}]


def test_csv_rows_that_do_not_fit_are_refused_with_their_line(hub, write):
    rows = "".join(f"{i},{i}\n" for i in range(10_000))
    path = write("a.csv", f'n,air\n{rows}x,1\n1,2,3\n"two\nlines",1\n5,6\n')
    report = put(hub._connection, hub.db.name, "rows", open_source(path))
    kept = list(hub.db["rows.rejected"].find().sort("position"))
    assert (report.stored, report.rejected) == (10_001, 3)
    assert [(row["source"], row["position"]) for row in kept] == [
        (str(path), line) for line in (10_002, 10_003, 10_004)
    ]
    assert kept[0]["reason"] == "field n: not of type int"
    assert kept[0]["record"] == {"n": "x", "air": "1"}
    assert kept[1]["reason"] == "3 cells, and 2 columns were expected"


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**40])
def test_whole_numbers_over_64_bits_stay_text_and_so_exact(write, number):
    path = write("a.csv", f"n\n{number}\n1\n")
    assert open_source(path).fields == {"n": "str"}
    assert records(path)[0] == {"n": str(number)}


@pytest.mark.parametrize(("name", "head"), [("a.csv", b"name,b\n"), ("a.jsonl", b"")])
def test_a_line_that_is_not_utf_8_is_refused_alone(write, name, head):
    lines = [b"ok,1\n", b"M\xfcller,2\n", b"fine,3\n"]
    if name.endswith("jsonl"):
        lines = [b'{"name": "ok"}\n', b'{"name": "M\xfcller"}\n', b'{"name": "fine"}\n']
    rows = [row.record for row in open_source(write(name, head + b"".join(lines)))]
    assert [row["name"] for row in rows[::2]] == ["ok", "fine"]
    assert "not UTF-8" in rows[1].reason


def test_json_lines_may_be_extended_json(write):
    path = write(
        "a.jsonl.gz",
        '{"_id": {"$oid": "65f000000000000000000000"}, "t": {"$date": "2026-01-01T12:00:00Z"}}\n\n{"a": [1]}\n',
    )
    assert records(path) == [{"_id": ObjectId("65f000000000000000000000"), "t": DATE}, {"a": [1]}]


def test_json_lines_that_are_no_objects_are_refused_with_their_line(hub, write):
    path = write("a.ndjson", '{"a": 1}\n{"a": \n5\n{"t": {"$date": "soon"}}\n{"a": 2}')
    report = put(hub._connection, hub.db.name, "rows", open_source(path))
    kept = [(row["position"], row["reason"]) for row in hub.db["rows.rejected"].find().sort("position")]
    assert report.stored == 2
    assert [line for line, _ in kept] == [2, 3, 4]
    assert kept[1][1] == "a JSON value that is no object"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather", "a.ipc"])
def test_tables_in_files_are_read_with_their_types(tmp_path, name):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    table = pa.table({"n": [1, 2], "t": pa.array([DATE, None], pa.timestamp("ms", "UTC"))})
    path = tmp_path / name
    if name == "a.ipc":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write(table)
    else:
        (parquet.write_table if name == "a.parquet" else feather.write_feather)(table, str(path))
    source = open_source(path)
    assert source.fields == {"n": "int64", "t": "timestamp[ms, tz=UTC]"}
    assert [(row.record, row.position) for row in source] == [({"n": 1, "t": DATE}, 1), ({"n": 2, "t": None}, 2)]
    assert source.read == source.size


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\n", ":1: there is no header"),
        ("a.csv", "a,a\n1,2\n", ":1: two columns are named 'a'"),
        ("a.csv", "a,,b\n1,2,3\n", ":1: column 2 has no name"),
        ("a.csv", "a.b\n1\n", ":1: column 'a.b' has a dot"),
        ("a.csv", b"M\xfcller\nx\n", r":1: a byte that is not UTF-8 \(if the file is Latin-1: iconv"),
        ("a.csv", "name\nx\n".encode("utf-16"), ":1: a byte that is not UTF-8"),
        ("a.txt", "x", "tells no known format\n  Rename it: .csv, "),
        ("a.parquet.gz", "x", "tells no known format"),
        ("a.json", '[{"a": 1}]', r"one object per line was expected\n  Convert it: jq"),
        ("a.parquet", "not a table", "the file is broken, or not parquet"),
        ("a.arrow", "not a table", "the file is broken, or not arrow"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_the_remedy(write, name, content, said):
    if name in ("a.parquet", "a.arrow"):
        pytest.importorskip("pyarrow")
    path = write(name, content)
    with pytest.raises(RecordError, match=said) as told:
        records(path)
    assert str(told.value).startswith(str(path))


def test_a_broken_gzip_is_told_after_what_could_be_read(tmp_path):
    whole = gzip.compress(b"a\n" + b"".join(b"%d\n" % (i * 7919) for i in range(100_000)))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"a\.csv\.gz:\d+: the file is broken"):
        records(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(RecordError, match=r"the file is broken"):
        open_source(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(RecordError, match=r"gone.csv cannot be read: No such file"):
        open_source(tmp_path / "gone.csv")
    with pytest.raises(RecordError, match="is a folder"):
        open_source(tmp_path)
