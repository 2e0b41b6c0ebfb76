"""Leaves of JAX by name: of trees (dicts, lists, tuples, named tuples, states of optax) and of objects of Flax NNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError
from nemesyst.frameworks.leaves import bytes_of, copy_of, layout
from nemesyst.frameworks.nesting import join, nest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Layout

    Leaves = dict[str, Any]

IMPLEMENTATIONS = ("threefry2x32", "rbg", "unsafe_rbg")
"""Generators of random numbers whose keys are stored."""


def is_nnx(model: object) -> bool:
    """Whether it is an object of Flax NNX: a module, an optimiser, metrics."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in _NNX for kind in type(model).__mro__)


_NNX = ("flax.nnx.module.Module", "flax.nnx.pytreelib.Pytree", "flax.nnx.object.Object")


def open_tree(model: Any) -> tuple[Leaves, Callable[[Mapping[str, Any]], Any]]:
    """The leaves by name, and what puts other ones in their places.

    Of an object of NNX it puts them into the object itself and gives that; of a tree it makes a new one.
    """
    return _open_nnx(model) if is_nnx(model) else _open_plain(model)


def _open_nnx(model: Any) -> tuple[Leaves, Callable[[Mapping[str, Any]], Any]]:
    from flax import nnx

    flat = list(nnx.to_flat_state(nnx.state(model)))
    leaves = _named(model, [(path, _value(variable)) for path, variable in flat])

    def put(values: Mapping[str, Any]) -> Any:
        renewed = [(path, _renewed(variable, values[join(path)])) for path, variable in flat]
        nnx.update(model, nnx.from_flat_state(renewed))
        return model

    return leaves, put


def _value(variable: Any) -> Any:
    return variable.get_value() if hasattr(variable, "get_value") else getattr(variable, "value", variable)


def _renewed(variable: Any, value: Any) -> Any:
    return variable.replace(value) if hasattr(variable, "replace") else value


def _open_plain(model: Any) -> tuple[Leaves, Callable[[Mapping[str, Any]], Any]]:
    import jax

    try:
        flat, structure = jax.tree_util.tree_flatten_with_path(model)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"JAX cannot walk through this {type(model).__name__}: {error}", "Use keys of one type that has an order."
        ) from error
    leaves = _named(model, [(tuple(_key(key) for key in path), leaf) for path, leaf in flat])

    def put(values: Mapping[str, Any]) -> Any:
        return jax.tree_util.tree_unflatten(structure, [values[name] for name in leaves])

    return leaves, put


def _key(key: Any) -> object:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key


def _named(model: object, flat: list[tuple[tuple[Any, ...], Any]]) -> Leaves:
    leaves = {join(path): leaf for path, leaf in flat}
    if len(leaves) != len(flat) or "__metadata__" in leaves:
        raise ModelError(
            f"two leaves of this {type(model).__name__} have one name, or one is called __metadata__",
            "Use texts as keys, each once.",
        )
    return leaves


def is_dicts(model: Any, leaves: Leaves) -> bool:
    """Whether the tree is of dicts alone, so that the names tell its structure."""
    import jax

    if is_nnx(model):
        return False
    own = jax.tree_util.tree_structure(jax.tree_util.tree_map(lambda _: 0, model))
    named: Any = jax.tree_util.tree_structure(nest(dict.fromkeys(leaves, 0)))
    return bool(named == own)


def implementation(leaf: Any) -> str | None:
    """Name of the generator that a leaf is a key of; None for an array of numbers.

    Raises:
        ModelError: A generator of the user's own.
    """
    import jax

    if not hasattr(leaf, "dtype") or not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return None
    name = next((each for each in IMPLEMENTATIONS if leaf.dtype == jax.eval_shape(_key_like(each)).dtype), None)
    if name is None:
        raise ModelError(f"a random key of {leaf.dtype}", f"Keys of these can be stored: {', '.join(IMPLEMENTATIONS)}.")
    return name


def _key_like(name: str) -> Callable[[], Any]:
    import jax

    return lambda: jax.random.key(0, impl=name)


def layout_of(name: str, leaf: Any) -> Layout:
    """Dtype and shape of a leaf; of a random key, those of its data.

    Raises:
        ModelError: It is no array, or one that cannot be stored; names it.
    """
    import jax

    if not isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        raise ModelError(
            f"{name} is a {type(leaf).__name__}, not an array", "Keep arrays alone in the tree; numbers in args=."
        )
    if implementation(leaf) is not None:
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return layout(name, leaf.dtype, leaf.shape)


def array_of(name: str, leaf: Any) -> Array:
    """A leaf as a NumPy array; a random key as its data.

    Raises:
        ModelError: It has no values here: a shape alone, given away, or spread over machines; names it.
    """
    import jax

    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise ModelError(f"{name} is a shape without values", "Save the arrays.")
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise ModelError(f"{name} has been donated or deleted", "Save what the step returned.")
        if not leaf.is_fully_addressable:
            raise ModelError(f"{name} is spread over several machines", "Gather it on one of them first.")
        if implementation(leaf) is not None:
            leaf = jax.random.key_data(leaf)
    array: Array = np.asarray(leaf)
    return array


def stored_bytes(name: str, leaf: Any) -> Buffer:
    """The bytes of a leaf."""
    return bytes_of(array_of(name, leaf))


def leaf_of(name: str, own: Layout, view: memoryview, like: Any = None, key: str | None = None) -> Any:
    """A leaf from its bytes: of the kind and on the device of ``like``; else an array of JAX on the default device.

    Raises:
        ModelError: JAX would cut 64 bits to 32.
    """
    import jax

    array = copy_of(name, own, view)
    if isinstance(like, np.ndarray):
        return array
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ModelError(
            f"{name} is {own}, of which JAX would keep 32 bits", "jax.config.update('jax_enable_x64', True)"
        )
    committed = isinstance(like, jax.Array) and getattr(like, "committed", True)
    place = like.sharding if committed or isinstance(like, jax.ShapeDtypeStruct) else None
    if key is not None:
        return jax.device_put(jax.random.wrap_key_data(jax.numpy.asarray(array), impl=key), place)
    return jax.device_put(array, place)
