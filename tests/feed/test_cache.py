"""The cache of decoded rows: what is put comes back, as views of one memory map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nemesyst.feed.cache import Cache, CacheWarning
from nemesyst.feed.table import Table

from .cache_tables import ABOUT, GB, KEY, assert_same, open_entry, table

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")]


@pytest.fixture
def entry(tmp_path):
    with open_entry(tmp_path) as entry:
        yield entry


def test_what_is_put_comes_back_here_and_in_an_entry_that_is_opened_later(entry, tmp_path):
    for chunk in (4, 0, 9):
        entry.put(chunk, table(chunk))
    with open_entry(tmp_path) as later:
        for chunk in (0, 4, 9):
            assert_same(entry.get(chunk), table(chunk))
            assert_same(later.get(chunk), table(chunk))
        assert later.chunks() == {0, 4, 9}


def test_what_was_not_put_is_not_there(entry):
    assert entry.get(0) is None
    entry.put(0, table(0))
    assert entry.get(1) is None
    assert entry.whole([0, 1]) is None
    assert entry.counts([1]) is None


def test_arrays_are_views_that_cannot_be_written(entry):
    entry.put(0, table(0))
    first, again = entry.get(0).arrays["x"], entry.get(0).arrays["x"]
    assert np.shares_memory(first, again)
    assert first.flags.c_contiguous
    assert first.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_the_first_to_store_a_chunk_wins(entry):
    entry.put(0, table(0))
    entry.put(0, table(1))
    assert_same(entry.get(0), table(0))


def test_an_entry_sees_what_another_stores(entry, tmp_path):
    assert entry.get(0) is None
    with open_entry(tmp_path) as other:
        other.put(0, table(0))
        assert_same(entry.get(0), table(0))
        other.put(1, table(1))
    assert_same(entry.get(1), table(1))


def test_the_whole_columns_give_rows_of_several_chunks_in_one_take(entry):
    for chunk in (2, 0, 1):
        entry.put(chunk, table(chunk, rows=100 + chunk))
    columns, starts = entry.whole([0, 1, 2])
    assert entry.counts([0, 1, 2]).tolist() == [100, 101, 102]
    rows = np.concatenate([starts[[0]] + 5, starts[[2]] + 101, starts[[1]]])
    expected = Table.joined([table(0, 100).take([5]), table(2, 102).take([101]), table(1, 101).take([0])])
    found = {name: np.take(values, rows, axis=0) for name, values in columns.items()}
    decoded = {n: entry.decode(n, v, [0, 1, 2]) if n in entry.coded else v for n, v in found.items()}
    assert_same(Table(decoded), expected)


def test_arrays_stay_valid_after_the_entry_is_closed_and_its_files_are_deleted(tmp_path):
    cache = Cache(tmp_path, GB)
    with cache.entry(KEY, ABOUT) as entry:
        entry.put(0, table(0))
        found = entry.get(0)
    assert cache.clear() > 0
    assert cache.entries() == []
    assert_same(found, table(0))
    assert entry.get(0) is None


def test_released_rows_are_read_again(entry):
    entry.put(0, table(0))
    found = entry.get(0)
    entry.release([0, 1])
    assert_same(found, table(0))


def test_a_chunk_without_rows_is_there(entry):
    entry.put(0, table(0, rows=0))
    assert entry.get(0).rows == 0
    entry.put(1, table(1))
    columns, starts = entry.whole([0, 1])
    assert_same(Table({"x": columns["x"][starts[1] :]}), Table({"x": table(1).arrays["x"]}))


def test_texts_of_other_widths_keep_theirs(entry):
    for chunk, texts in enumerate((["a", "bcd"], ["efghi", ""], [])):
        entry.put(chunk, Table({"t": np.array(texts, str)}))
    assert [entry.get(chunk).arrays["t"].dtype.str for chunk in range(3)] == ["<U3", "<U5", "<U1"]


def test_no_limit_means_no_cache(tmp_path):
    with open_entry(tmp_path / "none", limit=0) as entry:
        entry.put(0, table(0))
        assert entry.get(0) is None
    assert not (tmp_path / "none").exists()


def test_a_key_that_could_leave_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="hexadecimal"):
        Cache(tmp_path, GB).entry("../../etc", {})


def put_twice(entry, odd):
    entry.put(1, odd)
    entry.put(2, odd)


@pytest.mark.filterwarnings("default::nemesyst.feed.cache.CacheWarning")
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (Table({"x": np.zeros(3)}), "stored are"),
        (Table({"x": np.array([object()])}), "cannot be stored"),
        (Table({"x": np.zeros(3, [("a", int)])}), "cannot be stored"),
    ],
)
def test_a_table_that_does_not_fit_is_not_kept_and_warned_of_once(entry, odd, said):
    entry.put(0, table(0))
    with pytest.warns(CacheWarning, match=said) as told:
        put_twice(entry, odd)
    assert len(told) == 1
    assert entry.chunks() == {0}
    assert_same(entry.get(0), table(0))


KINDS = [arrays.boolean_dtypes(), arrays.integer_dtypes(endianness="<"), arrays.floating_dtypes(endianness="<")]
KINDS += [arrays.unicode_string_dtypes(endianness="<", max_len=9), arrays.datetime64_dtypes(endianness="<")]


@st.composite
def many_tables(draw):
    """Tables of the same columns, with any number of rows each."""
    columns = draw(
        st.lists(st.tuples(st.one_of(KINDS), st.lists(st.integers(0, 3), max_size=2)), min_size=1, max_size=4)
    )
    rows = draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))
    return [
        Table({str(i): draw(arrays.arrays(dtype, (n, *shape))) for i, (dtype, shape) in enumerate(columns)})
        for n in rows
    ]


@settings(max_examples=60, deadline=None)
@given(many_tables(), st.randoms())
def test_any_tables_come_back_bit_for_bit_alone_and_gathered(tmp_path_factory, tables, random):
    order = list(range(len(tables)))
    random.shuffle(order)
    with open_entry(tmp_path_factory.mktemp("any")) as entry:
        for chunk in order:
            entry.put(chunk, tables[chunk])
        columns, starts = entry.whole(range(len(tables)))
        rows = np.concatenate([np.arange(start, start + t.rows) for start, t in zip(starts, tables, strict=True)])
        for name, expected in Table.joined(tables).arrays.items():
            taken = np.take(columns[name], rows, axis=0)
            found = entry.decode(name, taken, range(len(tables))) if name in entry.coded else taken
            assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())
            for chunk, one in enumerate(tables):
                assert entry.get(chunk).arrays[name].tobytes() == one.arrays[name].tobytes()
