"""ONNX files: run by ONNX Runtime after a walk over their bytes, which reads no other file."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
pytest.importorskip("onnxruntime", reason="needs the onnx extra")

from onnx import TensorProto, helper, numpy_helper, parser

from nemesyst.checks import check_adapter
from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, UntrustedError
from nemesyst.frameworks import adapter_for, adapter_named
from nemesyst.frameworks.onnx_model import OnnxModel

ADAPTER = adapter_named("onnx")
HEAD = '<ir_version: 9, opset_import: ["": 18, "com.microsoft": 1, "mine": 1]> g '
X = np.arange(8, dtype=np.float32).reshape(2, 4)


def model(width=4):
    weights = ",".join(f"{value}." for value in range(width))
    text = f"(float[N,{width}] x) => (float[N,{width}] y) <float[{width}] w = {{{weights}}}> {{ y = Mul(x, w) }}"
    return parser.parse_model(HEAD + text)


def dumped(proto):
    return b"".join(ADAPTER.dump(proto))


def test_it_conforms():
    check_adapter(ADAPTER, model, inputs=X, other=lambda: model(3))


def test_a_loaded_model_conforms_too():
    check_adapter(ADAPTER, lambda: OnnxModel(model().SerializeToString()), inputs=X)


def test_it_is_chosen_for_a_model_of_onnx():
    assert adapter_for(model()).name == adapter_for(OnnxModel(model().SerializeToString())).name == "onnx"


def test_loaded_it_tells_its_inputs_and_runs():
    loaded = ADAPTER.load(memoryview(dumped(model())))
    assert (loaded.inputs, loaded.outputs) == ({"x": ("float", (None, 4))}, {"y": ("float", (None, 4))})
    assert np.array_equal(loaded.run(X)["y"], X * np.arange(4))
    assert loaded.proto() == model()


def test_several_inputs_go_by_name_and_integers_become_floats():
    two = parser.parse_model(HEAD + "(float[N] a, int64[N] b) => (float[N] y) { c = Cast<to = 1>(b) y = Sub(a, c) }")
    assert ADAPTER.predict(two, {"b": np.array([1], np.int32), "a": np.array([5])}).tolist() == [4]
    with pytest.raises(ModelError, match="takes a, b, given a"):
        ADAPTER.predict(two, {"a": X[0]})


def test_several_outputs_are_for_run_alone():
    two = parser.parse_model(HEAD + "(float[N] a) => (float[N] y, float[N] z) { y = Neg(a) z = Abs(a) }")
    with pytest.raises(ModelError, match="outputs y, z, expected one"):
        ADAPTER.predict(two, X[0])
    assert ADAPTER.load(dumped(two)).run(X[0])["y"].tolist() == [0, -1, -2, -3]


def test_an_input_that_does_not_fit_is_one_error():
    with pytest.raises(ModelError, match="ONNX Runtime: "):
        ADAPTER.predict(model(), X[:, :3])


def test_an_invalid_model_is_not_stored():
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        dumped(onnx.ModelProto())


def test_a_bare_session_says_what_to_give():
    import onnxruntime

    session = onnxruntime.InferenceSession(model().SerializeToString())
    with pytest.raises(ModelError, match="does not hold its file"):
        dumped(session)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="this ONNX Runtime has .*CPUExecutionProvider"):
        ADAPTER.place(ADAPTER.load(dumped(model())), "gpu:7")


def test_loading_into_a_model_of_another_shape_names_both():
    with pytest.raises(MismatchError, match=r"takes x float \[None, 4\] .*takes x float \[None, 3\]"):
        ADAPTER.load(dumped(model()), model(3))


def test_it_loads_and_predicts_where_the_package_onnx_is_missing(tmp_path):
    (tmp_path / "model.onnx").write_bytes(dumped(model()))
    program = (
        "import sys; sys.modules['onnx'] = None\n"
        "import numpy as np; from pathlib import Path; from nemesyst.frameworks import adapter_named\n"
        f"adapter = adapter_named('onnx'); model = adapter.load(Path({str(tmp_path / 'model.onnx')!r}).read_bytes())\n"
        "print(adapter.predict(model, np.ones((1, 4))).tolist(), len(b''.join(adapter.dump(model))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("[[0.0, 1.0, 2.0, 3.0]]"), done.stderr


def external(place, owner="initializer"):
    """A model of which a tensor lies in another file; in the graph, in an attribute, or in a branch."""
    made = model()
    tensor = made.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    if owner != "initializer":
        constant = helper.make_node("Constant", [], ["w"], value=tensor)
        del made.graph.initializer[:]
        made.graph.node.insert(0, constant)
    if owner == "branch":
        inner = helper.make_graph(list(made.graph.node), "inner", [], list(made.graph.output))
        condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones((), bool)))
        del made.graph.node[:]
        made.graph.node.extend([condition, helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)])
    return made


@pytest.mark.parametrize("owner", ["initializer", "attribute", "branch"])
@pytest.mark.parametrize("place", ["secret.bin", "../secret.bin", "{}/secret.bin"])
def test_weights_in_another_file_are_never_read(tmp_path, monkeypatch, owner, place):
    (tmp_path / "secret.bin").write_bytes(np.full(4, 7, "f4").tobytes())
    monkeypatch.chdir(tmp_path)
    made = external(place.format(tmp_path), owner)
    with pytest.raises(CorruptBlobError, match="lies in another file, which is never read"):
        ADAPTER.load(made.SerializeToString())
    with pytest.raises(ModelError, match="another file|not a valid ONNX model"):
        dumped(made)


def test_operators_outside_of_the_standard_need_trust():
    made = parser.parse_model(HEAD + "(float[N] a) => (float[N] y) { y = com.microsoft.Gelu(a) }")
    data = dumped(made)
    with pytest.raises(UntrustedError, match=r"outside of the ONNX standard: com\.microsoft\n.*trust=\['com"):
        ADAPTER.load(data)
    assert ADAPTER.predict(ADAPTER.load(data, trust=["com.microsoft"]), X[0]).shape == (4,)


def test_functions_that_the_file_itself_defines_need_none():
    text = "(float[N] a) => (float[N] y) { y = mine.twice(a) }"
    body = '<domain: "mine", opset_import: ["": 18]> twice (x) => (y) { y = Add(x, x) }'
    data = parser.parse_model(HEAD + text + body).SerializeToString()
    assert ADAPTER.predict(ADAPTER.load(data), X[0]).tolist() == [0, 2, 4, 6]


def test_a_function_cannot_take_the_name_of_another_set():
    text = "(float[N] a) => (float[N] y) { y = com.microsoft.Gelu(a) }"
    body = '<domain: "com.microsoft", opset_import: ["": 18]> Gelu (x) => (y) { y = Add(x, x) }'
    with pytest.raises(UntrustedError, match=r"com\.microsoft"):
        ADAPTER.load(parser.parse_model(HEAD + text + body).SerializeToString())


def test_a_tensor_that_claims_terabytes_is_refused():
    made = model()
    made.graph.initializer[0].dims[0] = 2**42
    with pytest.raises(CorruptBlobError, match="claims 4398046511104 elements in 16 bytes"):
        ADAPTER.load(made.SerializeToString())


def test_a_part_that_stands_twice_is_refused():
    data = model().SerializeToString()
    with pytest.raises(CorruptBlobError, match="field 7 stands twice"):
        ADAPTER.load(data + data)


@pytest.mark.parametrize(
    "data", [b"", b"\x3a\x00", b"PK\x03\x04", b"\x3a\xff\xff\xff\xff\x7f", b"\x0b" * 9, b"\x80" * 30]
)
def test_what_is_no_onnx_file_is_refused(data):
    with pytest.raises(CorruptBlobError, match="not an ONNX file that can be used safely"):
        ADAPTER.load(data)


def test_deep_branches_are_refused():
    inner = b""
    for _ in range(100):  # a graph with a node with an attribute with a graph ...
        for number in (6, 5, 1):
            inner = bytes([number << 3 | 2]) + _varint(len(inner)) + inner
    with pytest.raises(CorruptBlobError, match="nested too deeply"):
        ADAPTER.load(b"\x3a" + _varint(len(inner)) + inner)


def _varint(number):
    made = b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number])


def test_flipped_bytes_are_refused_or_harmless():
    data = dumped(model())
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        try:
            ADAPTER.predict(ADAPTER.load(bytes(damaged)), X)
        except ModelError:
            continue
