"""Trees of state (numbers, texts, arrays and tensors in dicts, lists and tuples) as bytes, and back; no pickle.

What schedulers, loss scalers, running metrics and generators of random numbers give as their ``state_dict()`` is such a
tree. Arrays lie in a safetensors file, the rest as JSON in its header.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError, ModelError
from nemesyst.frameworks import leaves
from nemesyst.frameworks.nesting import DEEPEST, join
from nemesyst.frameworks.tensors import Contents, Layout, unpack, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemesyst.frameworks.base import Buffer

_STATE = "state"
"""Metadata: the tree as JSON, where ``{"torch": "3"}`` and the like stand for what JSON has not."""


@dataclass(frozen=True)
class Captured:
    """A copy of a tree, which does not change with it.

    Attributes:
        tree: The tree as JSON values.
        layouts: Layout of each array that it names.
        data: The bytes of each.
    """

    tree: Any
    layouts: Mapping[str, Layout]
    data: Mapping[str, Buffer]

    def __iter__(self) -> Iterator[Buffer]:
        """The bytes, in pieces; may be gone through twice."""
        return write(self.layouts, {_STATE: json.dumps(self.tree)}, self.data.__getitem__)


def capture(tree: Any, name: str = "state") -> Captured:
    """Copy a tree into memory of its own.

    Args:
        tree: None, booleans, numbers, texts, bytes; arrays of NumPy, PyTorch and JAX, random keys of JAX included; and
            dicts, lists, tuples, deques and counters of those.
        name: What it is called in errors.

    Raises:
        ModelError: There is something else in it; names it.
    """
    copier = _Copier()
    return Captured(copier.copied(tree, (name,)), copier.layouts, copier.data)


def restored(data: Buffer) -> Any:
    """The tree that :func:`capture` copied; tensors of PyTorch are on the CPU.

    Raises:
        CorruptBlobError: The bytes are something else.
    """
    contents = unpack(data)
    try:
        return _Reader(contents).made(json.loads(contents.metadata[_STATE]))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, ImportError) as error:
        raise CorruptBlobError(f"not a tree of state: {type(error).__name__} {error}") from None


class _Copier:
    def __init__(self) -> None:
        self.layouts: dict[str, Layout] = {}
        self.data: dict[str, Buffer] = {}

    def copied(self, value: Any, path: tuple[object, ...]) -> Any:
        if isinstance(value, np.generic | np.ndarray):  # before numbers: a float64 of NumPy is a float, too
            return self._kept("scalar" if isinstance(value, np.generic) else "numpy", np.asarray(value), path)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, bytes | bytearray):
            return self._kept("bytes", np.frombuffer(value, np.uint8), path)
        if len(path) > DEEPEST:
            raise ModelError(f"{join(path)[:80]}... is nested too deeply", "Leave it out.")
        if isinstance(value, list):
            return [self.copied(item, (*path, number)) for number, item in enumerate(value)]
        kind = next((name for name, of in _KINDS.items() if type(value) is of), None)
        if kind is not None:
            return self._container(kind, value, path)
        return self._foreign(value, path)

    def _container(self, kind: str, value: Any, path: tuple[object, ...]) -> dict[str, Any]:
        if isinstance(value, dict):
            return {
                kind: [[self.copied(key, (*path, key)), self.copied(item, (*path, key))] for key, item in value.items()]
            }
        items = [self.copied(item, (*path, number)) for number, item in enumerate(value)]
        return {kind: [value.maxlen, items] if isinstance(value, deque) else items}

    def _foreign(self, value: Any, path: tuple[object, ...]) -> dict[str, Any]:
        top = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
        name = join(path)
        if "torch" in top and hasattr(value, "untyped_storage"):
            from nemesyst.frameworks import torch_tensors

            return self._add("torch", torch_tensors.layout_of(name, value), bytes(torch_tensors.bytes_of(value)))
        if top & {"jax", "jaxlib"} and hasattr(value, "dtype"):
            from nemesyst.frameworks import jax_leaves

            entry = self._add("jax", jax_leaves.layout_of(name, value), bytes(jax_leaves.stored_bytes(name, value)))
            return {**entry, "key": jax_leaves.implementation(value)}
        if isinstance(value, dict):  # a class of somebody's own that is a dict, such as a defaultdict
            return self._container("dict", value, path)
        raise ModelError(
            f"{name} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be kept",
            "Keep numbers, texts, arrays, and lists, tuples and dicts of those; or give the object itself, if it has "
            "state_dict() and load_state_dict().",
        )

    def _kept(self, kind: str, array: np.ndarray[Any, Any], path: tuple[object, ...]) -> dict[str, Any]:
        name = join(path)
        if array.dtype.kind in "OUSMmV" and array.dtype.name not in leaves.EXTRA.values():
            raise ModelError(f"{name} has dtype {array.dtype}", "Numbers and booleans can be kept.")
        return self._add(kind, leaves.layout(name, array.dtype, array.shape), bytes(leaves.bytes_of(array)))

    def _add(self, kind: str, layout: Layout, data: Buffer) -> dict[str, Any]:
        number = str(len(self.data))
        self.layouts[number], self.data[number] = layout, data
        return {kind: number}


_KINDS: dict[str, type] = {"dict": dict, "ordered": OrderedDict, "counter": Counter, "tuple": tuple, "deque": deque}
"""Containers by the names that stand for them; a list is JSON's own."""


class _Reader:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def made(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.made(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind, inner = next(iter(value.items()))
        if kind in ("dict", "ordered", "counter"):
            return _KINDS[kind]({self.made(key): self.made(item) for key, item in inner})
        if kind == "tuple":
            return tuple(self.made(item) for item in inner)
        if kind == "deque":
            return deque((self.made(item) for item in inner[1]), inner[0])
        return _ARRAYS[kind](inner, self._contents.layouts[inner], self._contents.views[inner], value.get("key"))


def _torch(_: str, layout: Layout, view: memoryview, key: Any) -> Any:  # noqa: ARG001 - the table's parameters
    from nemesyst.frameworks import torch_tensors

    return torch_tensors.copy_of(layout, view)


def _jax(name: str, layout: Layout, view: memoryview, key: Any) -> Any:
    from nemesyst.frameworks import jax_leaves

    return jax_leaves.leaf_of(name, layout, view, None, key)


_ARRAYS: dict[str, Callable[[str, Layout, memoryview, Any], Any]] = {
    "numpy": lambda name, layout, view, _: leaves.copy_of(name, layout, view),
    "scalar": lambda name, layout, view, _: leaves.copy_of(name, layout, view)[()],
    "bytes": lambda _, layout, view, key: bytes(view),  # noqa: ARG005 - the table's parameters
    "torch": _torch,
    "jax": _jax,
}
