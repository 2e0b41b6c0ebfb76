"""Dicts of NumPy arrays, as a safetensors file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from nemesyst.errors import MismatchError, ModelError
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.leaves import bytes_of, copy_of, layout, view_of
from nemesyst.frameworks.nesting import DEEPEST, NESTED, holds_jax, join, nest
from nemesyst.frameworks.tensors import check_fit, unpack, write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Layout


class ArraysAdapter(Adapter):
    """A dict of named arrays, or of such dicts: the smallest model there is."""

    name: ClassVar[str] = "arrays"
    roots: ClassVar[tuple[str, ...]] = ("builtins.dict",)
    needs_target: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def distance(self, model: object) -> int | None:
        """As for any class; a dict that holds an array of JAX is not ours."""
        steps = super().distance(model)
        return None if steps is None or holds_jax(model) else steps

    def version(self) -> str:
        """NumPy's version."""
        return np.__version__

    def dump(self, model: Mapping[str, Any]) -> Iterator[Buffer]:
        """One piece for the header and one for each array."""
        arrays, nested = _flat(model)
        layouts = {name: _layout(name, array) for name, array in arrays.items()}
        return write(layouts, NESTED if nested else {}, lambda name: bytes_of(arrays[name]))

    def load(
        self,
        data: Buffer,
        into: dict[str, Any] | None = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> dict[str, Any]:
        """The arrays, as views of ``data``; or copied into the arrays of ``into``."""
        contents = unpack(data)
        nested = contents.metadata == NESTED
        if into is None:
            arrays = {name: view_of(name, contents.layouts[name], view) for name, view in contents.views.items()}
            return nest(arrays) if nested else arrays
        targets, into_nested = _flat(into)
        check_fit(contents.layouts, {name: _layout(name, array) for name, array in targets.items()})
        if nested != into_nested:
            raise MismatchError("one of the two dicts is nested, the other is flat", "Load without into=.")
        if fixed := [name for name, array in targets.items() if not array.flags.writeable]:
            raise MismatchError(f"the array {fixed[0]} to load into is read-only", "Give a copy of it.")
        for name, array in targets.items():
            array[...] = copy_of(name, contents.layouts[name], contents.views[name])
        return into

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> NoReturn:  # noqa: ARG002 - the contract's parameters
        """A dict of arrays says nothing about an output."""
        raise ModelError(
            "a dict of arrays has no output of its own", "Compute it in a predictor function from the loaded arrays."
        )

    def weights(self, model: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
        """The arrays by name; those of inner dicts as ``outer/inner``."""
        yield from _flat(model)[0].items()


def _flat(model: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The arrays by name, and whether the dict is nested; the names of a flat dict are its keys as they are."""
    if not model:
        raise ModelError("the dict of arrays is empty", "Put at least one array into it.")
    nested = any(isinstance(value, dict) for value in model.values())
    arrays: dict[Any, Any] = dict(_walk(model, ())) if nested else dict(model)
    for name in arrays:
        if not isinstance(name, str) or name == "__metadata__":
            raise ModelError(f"a dict of arrays has the name {name!r}", "Name each array with a string of its own.")
    return arrays, nested


def _walk(model: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in model.items():
        if not isinstance(key, str):
            raise ModelError(
                f"a dict of arrays has the name {key!r} in {join(above) or 'it'}",
                "Name each array with a string of its own.",
            )
        here = (*above, key)
        if not isinstance(value, dict):
            yield join(here), value
        elif not value or len(here) >= DEEPEST:  # an empty dict has no name to come back from
            raise ModelError(f"the dict {join(here):.200} is empty or nested too deeply", "Leave it out.")
        else:
            yield from _walk(value, here)


def _layout(name: str, array: object) -> Layout:
    if not isinstance(array, np.ndarray):
        raise ModelError(
            f"{name} is a {type(array).__name__}, not a NumPy array", "Store arrays alone; see also args=."
        )
    if array.dtype.kind in "OUSMm" or array.dtype.names is not None:
        raise ModelError(f"{name} has dtype {array.dtype}", "Numbers and booleans can be stored.")
    return layout(name, array.dtype, array.shape)
