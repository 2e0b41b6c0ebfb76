"""The safetensors format, written in pieces and read without copying.

The library (https://github.com/huggingface/safetensors) holds a model two or three times in memory on the way; here
a model is held once. The bytes are the library's own format, in both directions: the tests read each other's files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nemesyst.frameworks.base import Buffer

ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ"), 1),
}
"""Bytes of one element of each dtype."""

_HEADER_LIMIT = 100_000_000
"""The library's own limit of a header, in bytes."""

_MOST_AXES = 64
"""NumPy's and PyTorch's limit; a longer shape would only make work for whoever multiplies it."""


@dataclass(frozen=True)
class Layout:
    """Dtype (the format's name) and shape of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Contents:
    """What :func:`unpack` found: layouts and bytes by name, and the file's metadata."""

    layouts: dict[str, Layout]
    views: dict[str, memoryview]
    metadata: dict[str, str]


def header(layouts: Mapping[str, Layout], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The first bytes of a file, and the order in which the tensors' bytes follow.

    Larger elements come first, so that every tensor is aligned.
    """
    order = sorted(layouts, key=lambda name: (-ITEM_BYTES[layouts[name].dtype], name))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        layout = layouts[name]
        entries[name] = {"dtype": layout.dtype, "shape": layout.shape, "data_offsets": [end, end + layout.size]}
        end += layout.size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _HEADER_LIMIT:
        raise ModelError(f"the model has too many tensors ({len(order)}) for one file", "Save it in several.")
    return len(text).to_bytes(8, "little") + text, order


def write(
    layouts: Mapping[str, Layout], metadata: Mapping[str, str], data: Callable[[str], Buffer]
) -> Iterator[Buffer]:
    """A file in pieces: the header, then the bytes that ``data`` gives for each name, asked for one after the other."""
    first, order = header(layouts, metadata)
    yield first
    for name in order:
        yield data(name)


def unpack(data: bytes | bytearray | memoryview) -> Contents:
    """Read a file: nothing is copied, and nothing outside of ``data`` is claimed.

    Raises:
        CorruptBlobError: It is not a safetensors file, or its header does not fit its bytes.
    """
    try:
        return _unpack(memoryview(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise CorruptBlobError(f"not a safetensors file: {error}") from None


def _unpack(data: memoryview) -> Contents:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"a header of {length} bytes in a file of {len(data)}")
    entries = json.loads(bytes(data[8 : 8 + length]).decode(), object_pairs_hook=_without_doubles)
    metadata = {str(name): str(value) for name, value in entries.pop("__metadata__", {}).items()}
    layouts, views, end = {}, {}, 8 + length
    for name, (layout, begin) in sorted(_entries(entries), key=lambda item: (item[1][1], item[1][0].size)):
        if begin + 8 + length != end:
            raise ValueError(f"{name} starts at byte {begin}, expected {end - 8 - length}")
        layouts[name], views[name] = layout, data[end : end + layout.size]
        end += layout.size
    if end != len(data):
        raise ValueError(f"the header claims {end} bytes, the file has {len(data)}")
    return Contents(layouts, views, metadata)


def _entries(entries: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Layout, int]]]:
    for name, entry in entries.items():
        shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
            raise ValueError(f"{name} has a shape or an offset that is not a whole number")
        if len(shape) > _MOST_AXES:
            raise ValueError(f"{name} has {len(shape)} axes")
        layout = Layout(str(entry["dtype"]), shape)
        if layout.dtype not in ITEM_BYTES or layout.size != end - begin:
            raise ValueError(f"{name} is {layout} in {end - begin} bytes")
        yield name, (layout, begin)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return names


def check_fit(stored: Mapping[str, Layout], target: Mapping[str, Layout], what: str = "weights") -> None:
    """Compare a file with the model (or optimiser) that it is to go into.

    Raises:
        MismatchError: Names that only one side has, or a tensor whose dtype or shape differs; says both sides.
    """
    if missing := [name for name in target if name not in stored]:
        raise _different_names(stored, target, missing, [name for name in stored if name not in target], what)
    if extra := [name for name in stored if name not in target]:
        raise _different_names(stored, target, [], extra, what)
    differing = [name for name in target if stored[name] != target[name]]
    if differing:
        lines = [f"{name}: stored {stored[name]}, in the model {target[name]}" for name in differing]
        raise MismatchError(
            f"the {what} do not fit the model: {_few(lines)}", "Build it with the arguments that are in the record."
        )


def _different_names(
    stored: Mapping[str, Layout], target: Mapping[str, Layout], missing: list[str], extra: list[str], what: str
) -> MismatchError:
    sides = [f"only in the model: {_few(f'{name} {target[name]}' for name in missing)}"] if missing else []
    sides += [f"only stored: {_few(f'{name} {stored[name]}' for name in extra)}"] if extra else []
    hint = f" ({missing[0]}: {nearest(missing[0], extra)})" if missing and extra else ""
    return MismatchError(
        f"the {what} and the model have different names; {'; '.join(sides)}{hint}",
        "Load into a model of the class that was saved.",
    )


def _few(texts: Iterable[str]) -> str:
    texts = list(texts)
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
