from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import adapter_named
from nemesyst.frameworks.leaves import DTYPES

pytestmark = pytest.mark.core

ADAPTER = adapter_named("arrays")
ARRAYS = st.dictionaries(
    st.text(max_size=8).filter("__metadata__".__ne__),
    st.sampled_from(list(DTYPES.values())).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    min_size=1,
    max_size=5,
)


def dumped(arrays):
    return bytearray(b"".join(ADAPTER.dump(arrays)))


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@given(ARRAYS)
def test_arrays_come_back_bit_for_bit(arrays):
    loaded = ADAPTER.load(dumped(arrays))
    assert loaded.keys() == arrays.keys()
    assert all(same(loaded[name], arrays[name]) for name in arrays)


@given(ARRAYS)
def test_the_safetensors_library_reads_what_we_write(arrays):
    loaded = safetensors.numpy.load(bytes(dumped(arrays)))
    assert all(same(loaded[name], arrays[name]) for name in arrays)


@given(ARRAYS)
def test_we_read_what_the_safetensors_library_writes(arrays):
    contiguous = {name: array.copy("C") for name, array in arrays.items()}
    loaded = ADAPTER.load(safetensors.numpy.save(contiguous))
    assert all(same(loaded[name], arrays[name]) for name in arrays)


def test_layouts_in_memory_do_not_matter():
    array = np.arange(12.0).reshape(3, 4)
    loaded = ADAPTER.load(dumped({"t": array.T, "s": array[:, ::2], "big": array.astype(">f8")}))
    assert [loaded[name].tolist() for name in ("t", "s", "big")] == [
        array.T.tolist(),
        array[:, ::2].tolist(),
        array.tolist(),
    ]


def test_loading_takes_no_second_copy():
    data = dumped({"a": np.zeros(4)})
    loaded = ADAPTER.load(data)
    data[-8:] = np.array([7.0]).tobytes()
    assert loaded["a"][-1] == 7.0


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        ADAPTER.load(data)


@given(st.data())
def test_a_damaged_header_never_gives_arrays_of_another_size(data):
    file = dumped({"a": np.arange(4.0), "b": np.arange(3)})
    place = data.draw(st.integers(0, int.from_bytes(file[:8], "little") + 7))
    file[place] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(CorruptBlobError, ModelError):
        assert sum(array.nbytes for array in ADAPTER.load(file).values()) == 56


def _file(entries, size=8):
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        },
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": None},
        [1],
    ],
)
def test_a_header_that_lies_is_refused(entries):
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        ADAPTER.load(_file(entries))


def test_a_deeply_nested_header_is_refused():
    header = b"[" * 100_000
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        ADAPTER.load(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({}, "empty"),
        ({"a": [1, 2]}, "a is a list"),
        ({"a": np.array(["x"])}, "a has dtype <U1"),
        ({"a": np.array([{}])}, "a has dtype object"),
        ({1: np.ones(1)}, "the name 1"),
    ],
)
def test_what_is_no_dict_of_arrays_is_refused_by_name(model, text):
    with pytest.raises(ModelError, match=text):
        dumped(model)


def test_loading_into_arrays_fills_them():
    into = {"a": np.zeros(3)}
    assert ADAPTER.load(dumped({"a": np.arange(3.0)}), into) is into
    assert into["a"].tolist() == [0, 1, 2]


def test_a_mismatch_names_the_array_with_both_shapes_and_changes_nothing():
    into = {"a": np.zeros(3), "b": np.zeros(2)}
    with pytest.raises(MismatchError, match=r"b: stored F32 \[2, 1\], in the model F64 \[2\]"):
        ADAPTER.load(dumped({"a": np.ones(3), "b": np.ones((2, 1), np.float32)}), into)
    assert not into["a"].any()


def test_a_dict_of_arrays_predicts_nothing():
    with pytest.raises(ModelError, match="no output of its own"):
        ADAPTER.predict({"a": np.ones(1)}, np.ones(1))


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}},
        {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 8]}},
        {"__metadata__": 3, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        },
    ],
)
def test_a_header_of_another_grammar_is_refused(entries):
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        ADAPTER.load(_file(entries))


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b'{"\xff":1}', b"{", b"\x00" * 8, b'{"a":' + b"9" * 5000 + b"}"])
def test_text_that_is_no_header_is_refused(text):
    with pytest.raises(CorruptBlobError, match="not a safetensors file"):
        ADAPTER.load(len(text).to_bytes(8, "little") + text)


def test_nested_dicts_come_back_nested():
    model = {"a": {"b": np.ones(2), "c/d~": np.zeros(1)}, "e": np.arange(3)}
    loaded = ADAPTER.load(dumped(model))
    assert [name for name, _ in ADAPTER.weights(model)] == ["a/b", "a/c~1d~0", "e"]
    assert loaded["a"]["c/d~"].tolist() == [0]
    assert loaded["e"].tolist() == [0, 1, 2]


def test_a_flat_dict_with_slashes_stays_flat():
    assert list(ADAPTER.load(dumped({"a/b": np.ones(1)}))) == ["a/b"]


def test_a_dict_that_is_empty_or_holds_itself_is_refused():
    endless = {"a": np.ones(1)}
    endless["self"] = endless
    for model in (endless, {"a": np.ones(1), "b": {}}):
        with pytest.raises(ModelError, match="empty or nested too deeply"):
            dumped(model)


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a/b/c"], ["a/" * 200 + "b"]])
def test_names_that_make_no_nested_dict_are_refused(names):
    flat = dumped({name: np.ones(1) for name in names} | {"marker": {"b": np.ones(1)}})
    data = flat.replace(b"~1", b"/")
    length = int.from_bytes(data[:8], "little") - (len(flat) - len(data))
    with pytest.raises(CorruptBlobError, match="name"):
        ADAPTER.load(length.to_bytes(8, "little") + data[8:])


def test_bfloat16_is_kept():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.array([1.5, -2.0], bfloat16)
    assert same(ADAPTER.load(dumped({"a": array}))["a"], array)
    into = {"a": np.zeros(2, bfloat16)}
    assert same(ADAPTER.load(dumped({"a": array}), into)["a"], array)
