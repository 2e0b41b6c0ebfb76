"""A collection of hostile artefacts: bytes that would make a file, if anything in them were run or unpacked.

Each entry of :data:`ATTACKS` makes the bytes from the path of a marker, which must never appear.
"""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np

TERABYTE = 2**40


class Bomb:
    """Pickled, it opens the marker for writing when it is loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def zipped(members, *, compress=zipfile.ZIP_STORED, modes=None):
    """A zip archive of members by name."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compress) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compress
            entry.external_attr = (modes or {}).get(name, 0o600) << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def torch_zip(marker):
    import torch

    torch.save(Bomb(marker), buffer := io.BytesIO())
    return buffer.getvalue()


def torch_legacy(marker):
    import torch

    torch.save(Bomb(marker), buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def joblib_file(marker):
    import joblib

    joblib.dump(Bomb(marker), buffer := io.BytesIO())
    return buffer.getvalue()


def object_array(marker):
    np.save(buffer := io.BytesIO(), np.array([Bomb(marker)], object), allow_pickle=True)
    return buffer.getvalue()


def object_arrays(marker):
    np.savez(buffer := io.BytesIO(), w=np.array([Bomb(marker)], object))
    return buffer.getvalue()


def skops_file(marker, *, loader="ConstructorFromReduceNode", module="io", name="FileIO", **members):
    """An archive of skops whose schema asks for a callable with the marker as an argument."""

    def text(value):
        return {"__loader__": "JsonNode", "__module__": "builtins", "__class__": "str", "content": json.dumps(value)}

    values = {"__loader__": "TupleNode", "__module__": "builtins", "__class__": "tuple"}
    content = {**values, "content": [text(str(marker)), text("w")]}
    schema = {"__loader__": loader, "__module__": module, "__class__": name, "content": content, "protocol": 2}
    return zipped({"schema.json": json.dumps({**schema, "_skops_version": "0"}).encode(), **members})


def skops_with_object_array(marker):
    node = {
        "__loader__": "NdArrayNode",
        "__module__": "numpy",
        "__class__": "ndarray",
        "type": "numpy",
        "file": "0.npy",
    }
    schema = json.dumps({**node, "protocol": 2, "_skops_version": "0"}).encode()
    return zipped({"schema.json": schema, "0.npy": object_array(marker)})


def keras_zip(marker):
    """A ``.keras`` file with a Lambda layer, as its format has them."""
    code = {"class_name": "__lambda__", "config": {"code": pickle.dumps(Bomb(marker)).hex(), "defaults": None}}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": code}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    members = {
        "metadata.json": b"{}",
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": b"\x89HDF\r\n\x1a\n",
    }
    return zipped(members)


def hdf5(marker):
    import h5py

    with h5py.File(buffer := io.BytesIO(), "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": {"function": [str(marker)]}})
        file["outside"] = h5py.ExternalLink(str(Path(str(marker)).parent), "/")
    return buffer.getvalue()


def safetensors(entries, data=b""):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(shape, begin=0, end=4, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def onnx_external(marker):
    from onnx import TensorProto, helper

    made = TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    made.external_data.add(key="location", value=str(marker))
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["w"], ["y"])], "g", [], [value], [made])
    return helper.make_model(graph).SerializeToString()


def onnx_custom(marker):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("PyOp", [], ["y"], domain="pyop", module="os", name=str(marker))
    graph = helper.make_graph([node], "g", [], [value])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("pyop", 1)]).SerializeToString()


def xgboost_frame(kind, payload=b"", **params):
    text = json.dumps({"class": kind, "params": params}).encode()
    return len(text).to_bytes(8, "little") + text + payload


def ubjson_terabyte(_):
    name = b"L" + struct.pack(">q", 7) + b"learner"
    return xgboost_frame("Booster", b"{" + name + b"[$d#L" + struct.pack(">q", TERABYTE) + b"}")


def bomb_zip(_):
    return zipped({"0.npy": bytes(50_000_000), "schema.json": b"{}"}, compress=zipfile.ZIP_DEFLATED)


ATTACKS = {
    "a pickle": lambda marker: pickle.dumps(Bomb(marker)),
    "a pickle of protocol 0": lambda marker: pickle.dumps(Bomb(marker), 0),
    "a pickle in a frame": lambda marker: safetensors(pickle.dumps(Bomb(marker))),
    "a zip of PyTorch": torch_zip,
    "a legacy file of PyTorch": torch_legacy,
    "a file of joblib": joblib_file,
    "an array of pickled objects": object_array,
    "arrays of pickled objects": object_arrays,
    "skops: a file is opened": skops_file,
    "skops: a function is named": lambda marker: skops_file(marker, loader="FunctionNode", module="os", name="system"),
    "skops: a type is named": lambda marker: skops_file(marker, loader="TypeNode", module="subprocess", name="Popen"),
    "skops: an object is made": lambda marker: skops_file(marker, loader="ObjectNode", module="shutil", name="rmtree"),
    "skops: builtins": lambda marker: skops_file(marker, module="builtins", name="open"),
    "skops: an unknown node": lambda marker: skops_file(marker, loader="PickleNode"),
    "skops: pickled objects in an array": skops_with_object_array,
    "skops: a member outside": lambda marker: skops_file(marker, **{f"../../{marker}": b"x"}),
    "skops: an absolute member": lambda marker: skops_file(marker, **{str(marker): b"x"}),
    "a zip with parent folders": lambda marker: zipped({"../" * 9 + str(marker).lstrip("/"): b"x"}),
    "a zip with a link": lambda marker: zipped(
        {"schema.json": str(marker)}, modes={"schema.json": stat.S_IFLNK | 0o777}
    ),
    "a zip bomb": bomb_zip,
    "a Keras file with a Lambda": keras_zip,
    "an HDF5 file with a Lambda": hdf5,
    "a header of 2^63 bytes": lambda _: (2**63).to_bytes(8, "little") + b"{}",
    "a header that claims terabytes": lambda _: safetensors({"w": tensor([TERABYTE], 0, 4 * TERABYTE)}),
    "a tensor beyond the end": lambda _: safetensors({"w": tensor([2], 0, 8)}, b"1234"),
    "tensors that overlap": lambda _: safetensors({"a": tensor([1]), "b": tensor([1])}, bytes(4)),
    "a tensor of a negative size": lambda _: safetensors({"w": tensor([-1], 0, -4)}),
    "a deep header": lambda _: safetensors(b"[" * 200_000),
    "ONNX: weights in a file": onnx_external,
    "ONNX: an operator in Python": onnx_custom,
    "XGBoost: a class that is a command": lambda marker: xgboost_frame("os.system", args=str(marker)),
    "XGBoost: a pickle inside": lambda marker: xgboost_frame("Booster", pickle.dumps(Bomb(marker))),
    "XGBoost: an array of terabytes": ubjson_terabyte,
    "nothing": lambda _: b"",
    "zeros": lambda _: bytes(1000),
    "noise": lambda _: np.random.default_rng(0).bytes(4096),
}
"""What an artefact is, and how it is made from the path of the marker."""
