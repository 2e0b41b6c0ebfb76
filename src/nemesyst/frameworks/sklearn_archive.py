"""Archives of skops, written so that the same estimator gives the same bytes.

skops puts dates, addresses of objects and the padding of records into its archives. Here objects are numbered in the
order in which they appear, arrays of equal content are stored once, and nothing is compressed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.frameworks.base import Buffer

SCHEMA = "schema.json"
_IMMUTABLE = ("JsonNode", "TypeNode", "FunctionNode", "TupleNode", "SliceNode", "BytesNode", "DTypeNode")
"""Nodes for which it makes no difference whether two places hold one object or two equal ones."""


class View(io.RawIOBase):
    """A readable file over a buffer, which is not copied."""

    def __init__(self, data: Buffer) -> None:
        super().__init__()
        self._data = memoryview(data).cast("B")
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, target: Any, /) -> int:
        """Copy the next bytes."""
        some = self._data[self._at : self._at + len(target)]
        target[: len(some)] = some
        self._at += len(some)
        return len(some)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move."""
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at


class _Sink:
    """Takes what is written in pieces; no more than one member waits in it."""

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []

    def write(self, data: Buffer) -> int:
        self.pieces.append(data)
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> list[Buffer]:
        taken, self.pieces = self.pieces, []
        return taken


def plain_archive(data: Buffer) -> Iterator[Buffer]:
    """The same archive without what differs from one process to the next, in pieces."""
    with zipfile.ZipFile(View(data)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        files = _Files(archive)
        plain = _Plain(schema, files).node(schema)
        sink = _Sink()
        with zipfile.ZipFile(cast("IO[bytes]", sink), "w") as target:  # it needs write and flush alone
            for name, old in files.names.items():
                target.writestr(_entry(name), _plain_member(old, archive.read(old)))
                yield from sink.taken()
            target.writestr(_entry(SCHEMA), json.dumps(plain, separators=(",", ":")))
        yield from sink.taken()


class _Files:
    """New names of members: numbered as they appear, one for equal contents."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._of_old: dict[str, str] = {}
        self._of_content: dict[bytes, str] = {}
        self.names: dict[str, str] = {}

    def name(self, old: str) -> str:
        if old not in self._of_old:
            kind = old.rpartition(".")[2]
            digest = blake3(_plain_member(old, self._archive.read(old))).digest() + kind.encode()
            new = self._of_content.setdefault(digest, f"{len(self._of_content)}.{kind}")
            self._of_old[old] = new
            self.names.setdefault(new, old)
        return self._of_old[old]


class _Plain:
    """Rewrites the nodes of a schema."""

    def __init__(self, schema: Any, files: _Files) -> None:
        self._files = files
        self._uses = Counter(each["__id__"] for each in _nodes(schema) if "__id__" in each)
        self._numbers: dict[int, int] = {}

    def node(self, value: Any) -> Any:
        """The value with small numbers for what is shared, and new names of files."""
        if isinstance(value, list):
            return [self.node(each) for each in value]
        if not isinstance(value, dict):
            return value
        loader = value.get("__loader__")
        number = self._number(value) if loader is not None else None
        made = {name: self.node(each) for name, each in value.items() if loader is None or name != "__id__"}
        if loader is not None and isinstance(value.get("file"), str):
            made["file"] = self._files.name(value["file"])
        if loader == "SetNode":  # a set has no order, and its own differs with the hashes of strings
            made["content"].sort(key=lambda each: json.dumps(each, sort_keys=True))
        return made if number is None else {**made, "__id__": number}

    def _number(self, value: dict[str, Any]) -> int | None:
        own = value.get("__id__")
        if own is None or self._uses[own] < 2 or value["__loader__"] in _IMMUTABLE:
            return None
        return self._numbers.setdefault(own, len(self._numbers) + 1)


def learned_arrays(data: Buffer) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Path and values of each array in an archive; records by field; random states and times left out."""
    with zipfile.ZipFile(View(data)) as archive:
        for path, name in _array_files(json.loads(archive.read(SCHEMA)), ()):
            array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for part in array.dtype.names or ("",):
                yield "/".join([*path, *([part] if part else [])]), array[part] if part else array


def _array_files(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(node, dict) or node.get("__loader__") in ("RandomStateNode", "RandomGeneratorNode"):
        return
    loader, content = node.get("__loader__"), node.get("content")
    if str(node.get("file")).endswith(".npy"):
        yield path, node["file"]
    if loader == "DictNode":
        for name, each in node["content"].items():
            if not name.endswith("_time"):
                yield from _array_files(each, (*path, name))
    elif isinstance(content, list):
        for number, each in enumerate(content):
            yield from _array_files(each, (*path, str(number)))
    else:
        for each in node.values():
            yield from _array_files(each, path)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "__loader__" in each:
                yield each
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # the same on every platform
    return entry


def _plain_member(name: str, data: bytes) -> Buffer:
    if name.endswith(".npy"):
        return _without_padding(data)
    if name.endswith(".npz"):  # sparse matrices, which scipy compresses and dates
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(target, "w") as plain:
            for member in archive.namelist():
                plain.writestr(_entry(member), archive.read(member))
        return target.getvalue()
    return data


def _without_padding(data: bytes) -> bytes:
    """Records of compiled code have gaps between their fields, which hold whatever was there before."""
    stream = io.BytesIO(data)
    dtype = array_header(stream)[1]
    if dtype.names is None:
        return data
    stream.seek(0)
    array = np.load(stream, allow_pickle=False)
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    target = io.BytesIO()
    np.save(target, clean, allow_pickle=False)
    return target.getvalue()


def array_header(stream: Any) -> tuple[int, np.dtype[Any]]:
    """Number of elements and dtype of an array file, which is left at its first element."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = read.get(version, read[2, 0])(stream)  # version 3 is 2 with other letters
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"the shape {shape} is not one")
    count = 1
    for size in shape:
        count *= size
    return count, dtype
