"""Dicts of NumPy arrays, as a safetensors file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from nemesyst.errors import MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.tensors import Layout, check_fit, header, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "C64": "<c8",
}  # fmt: skip
"""NumPy's name of each dtype that both know."""

_NAMES = {numpy: name for name, numpy in DTYPES.items()}


class ArraysAdapter(Adapter):
    """A dict of named arrays: the smallest model there is."""

    name: ClassVar[str] = "arrays"
    roots: ClassVar[tuple[str, ...]] = ("builtins.dict",)
    needs_target: ClassVar[bool] = False

    def version(self) -> str:
        """NumPy's version."""
        return np.__version__

    def dump(self, model: Mapping[str, Array]) -> Iterator[Buffer]:
        """One piece for the header and one for each array."""
        if not model:
            raise ModelError("the dict of arrays is empty", "Put at least one array into it.")
        layouts = {name: _layout(name, array) for name, array in model.items()}
        first, order = header(layouts, {})
        yield first
        for name in order:
            array = np.ascontiguousarray(model[name], dtype=DTYPES[layouts[name].dtype])
            yield array.reshape(-1).view(np.uint8).data

    def load(
        self,
        data: Buffer,
        into: dict[str, Array] | None = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> dict[str, Array]:
        """The arrays, as views of ``data``; or copied into the arrays of ``into``."""
        contents = unpack(data)
        if unknown := [name for name, layout in contents.layouts.items() if layout.dtype not in DTYPES]:
            raise ModelError(
                f"{unknown[0]} is {contents.layouts[unknown[0]]}, which NumPy has not", "Load it with torch."
            )
        arrays = {
            name: np.frombuffer(view, DTYPES[contents.layouts[name].dtype]).reshape(contents.layouts[name].shape)
            for name, view in contents.views.items()
        }
        if into is None:
            return arrays
        check_fit(contents.layouts, {name: _layout(name, array) for name, array in into.items()})
        if fixed := [name for name, array in into.items() if not array.flags.writeable]:
            raise MismatchError(f"the array {fixed[0]} to load into is read-only", "Give a copy of it.")
        for name, array in into.items():
            array[...] = arrays[name]
        return into

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> NoReturn:  # noqa: ARG002 - the contract's parameters
        """A dict of arrays says nothing about an output."""
        raise ModelError(
            "a dict of arrays has no output of its own", "Compute it in a predictor function from the loaded arrays."
        )


def _layout(name: object, array: object) -> Layout:
    if not isinstance(name, str) or name == "__metadata__":
        raise ModelError(f"a dict of arrays has the name {name!r}", "Name each array with a string of its own.")
    if not isinstance(array, np.ndarray):
        raise ModelError(
            f"{name} is a {type(array).__name__}, not a NumPy array", "Store arrays alone; see also args=."
        )
    dtype = _NAMES.get(array.dtype.newbyteorder("<").str)
    if dtype is None:
        raise ModelError(f"{name} has dtype {array.dtype}", f"These can be stored: {', '.join(DTYPES)}.")
    return Layout(dtype, array.shape)
