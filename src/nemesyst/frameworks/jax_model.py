"""Models of JAX: trees of arrays and modules of Flax NNX, as a safetensors file."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import jax_leaves as own
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.devices import no_device, parse_device
from nemesyst.frameworks.nesting import NESTED, holds_jax, nest
from nemesyst.frameworks.tensors import check_fit, unpack, write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from nemesyst.frameworks.base import Array, Buffer
    from nemesyst.frameworks.tensors import Contents

_KEYS = "keys"
"""Metadata: a JSON object from the name of a random key to that of its generator."""


class JaxAdapter(Adapter):
    """Trees of JAX arrays (dicts, lists, tuples, named tuples), and ``flax.nnx.Module``.

    A tree of dicts alone comes back by itself; any other structure, and a module, needs one to load into, whose leaves
    may be ``jax.ShapeDtypeStruct`` (``jax.eval_shape``), so that it takes no memory. Random keys are stored as data.
    """

    name: ClassVar[str] = "jax"
    roots: ClassVar[tuple[str, ...]] = ("flax.nnx.module.Module", "flax.core.frozen_dict.FrozenDict")
    needs_target: ClassVar[bool] = False

    def distance(self, model: object) -> int | None:
        """As for any class; and 0 for a dict, a list or a tuple that holds an array of JAX."""
        if isinstance(model, dict | list | tuple):
            plain = next(n for n, kind in enumerate(type(model).__mro__) if kind in (dict, list, tuple))
            return plain if holds_jax(model) else None
        return super().distance(model)

    def ready(self, model: Any) -> Any:
        """Evaluation mode of a module; training goes on with ``model.train()``."""
        if own.is_nnx(model):
            model.eval()
        return model

    def version(self) -> str:
        """JAX's version."""
        import jax

        return str(jax.__version__)

    def dump(self, model: Any) -> Iterator[Buffer]:
        """One piece for the header and one for each leaf."""
        leaves, _ = own.open_tree(model)
        if not leaves:
            raise ModelError(f"this {type(model).__name__} has no arrays", "Give a tree with at least one.")
        layouts = {name: own.layout_of(name, leaf) for name, leaf in leaves.items()}
        keys = _keys_of(leaves)
        metadata = dict(NESTED) if own.is_dicts(model, leaves) else {}
        metadata |= {_KEYS: json.dumps(keys, sort_keys=True)} if keys else {}
        return write(layouts, metadata, lambda name: own.stored_bytes(name, leaves[name]))

    def load(
        self,
        data: Buffer,
        into: Any = None,
        *,
        trust: Collection[str] = (),  # noqa: ARG002 - nothing here can be untrusted
    ) -> Any:
        """Put the arrays into a module, or make a tree like ``into``, or one of dicts; on the devices of ``into``.

        JAX's arrays never change: of a tree that is given a new one is made, and the one given stays as it is.
        """
        contents = unpack(data)
        keys = _stored_keys(contents)
        if into is None:
            if contents.metadata.get("tree") != NESTED["tree"]:
                raise ModelError(
                    "this version of JAX is no tree of dicts alone, and needs a structure to go into",
                    "Pass into=a module or a tree like it, or build=a function that makes one.",
                )
            return nest({name: self._leaf(contents, name, None, keys) for name in contents.views})
        leaves, put = own.open_tree(into)
        check_fit(contents.layouts, {name: own.layout_of(name, leaf) for name, leaf in leaves.items()})
        _check_keys(keys, _keys_of(leaves))
        return put({name: self._leaf(contents, name, leaf, keys) for name, leaf in leaves.items()})

    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """Call a module in evaluation mode, compiled; floating inputs get the dtype of its first floating leaf."""
        if not own.is_nnx(model):
            raise ModelError(
                f"a tree of arrays ({type(model).__name__}) has no output of its own",
                "Compute it in a predictor function from the loaded arrays, or save a flax.nnx.Module.",
            )
        output = _called(model, _inputs(model, inputs))
        if not hasattr(output, "dtype") or not hasattr(output, "shape"):
            raise ModelError(
                f"the module {type(model).__name__} returns a {type(output).__name__}, expected one array",
                "Return the array from its __call__, or call the module in a predictor function.",
            )
        array = np.asarray(output)
        return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name in _CAST else array

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:
        """The leaves by their paths; random keys as their data."""
        for name, leaf in own.open_tree(model)[0].items():
            own.layout_of(name, leaf)
            yield name, own.array_of(name, leaf)

    def place(self, model: Any, device: str) -> Any:
        """A module in place, a tree as a new one, on a device of JAX."""
        import jax

        there = _device(device)
        leaves, put = own.open_tree(model)
        return put({name: jax.device_put(leaf, there) for name, leaf in leaves.items()})

    def dump_optimizer(self, model: Any, optimizer: Any) -> Iterator[Buffer]:  # noqa: ARG002 - the contract's parameters
        """A state of optax, or an ``nnx.Optimizer``."""
        return self.dump(optimizer)

    def load_optimizer(self, data: Buffer, model: Any, optimizer: Any) -> Any:  # noqa: ARG002 - the contract's parameters
        """A state like the one given (``tx.init(parameters)``) with the stored arrays; ``nnx.Optimizer`` in place."""
        if optimizer is None:
            raise ModelError("a state of an optimiser needs one like it to go into", "Pass tx.init(parameters).")
        return self.load(data, optimizer)

    @staticmethod
    def _leaf(contents: Contents, name: str, like: Any, keys: Mapping[str, str]) -> Any:
        return own.leaf_of(name, contents.layouts[name], contents.views[name], like, keys.get(name))


_CAST = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")


def _keys_of(leaves: Mapping[str, Any]) -> dict[str, str]:
    found = {name: own.implementation(leaf) for name, leaf in leaves.items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _stored_keys(contents: Contents) -> dict[str, str]:
    try:
        keys = json.loads(contents.metadata.get(_KEYS, "{}"))
        sound = all(
            kind in own.IMPLEMENTATIONS and contents.layouts[name].dtype == "U32" and contents.layouts[name].shape
            for name, kind in keys.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptBlobError("the list of random keys does not fit the arrays")
    if wrong := [name for name, kind in keys.items() if contents.layouts[name].shape[-1] != _KEY_WORDS[kind]]:
        raise CorruptBlobError(f"{wrong[0]} is no random key of {keys[wrong[0]]}: {contents.layouts[wrong[0]]}")
    return dict(keys)


_KEY_WORDS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}


def _check_keys(stored: Mapping[str, str], target: Mapping[str, str]) -> None:
    for name in sorted(stored.keys() | target.keys()):
        if stored.get(name) != target.get(name):
            sides = [kinds.get(name, "no random key") for kinds in (stored, target)]
            raise MismatchError(f"{name}: stored {sides[0]}, in the model {sides[1]}", "Make the keys as they were.")


def _device(device: str) -> Any:
    import jax

    kind, number = parse_device(device)
    try:
        return jax.devices(kind)[number or 0]
    except (RuntimeError, IndexError):
        raise no_device(device, [f"{each.platform}:{each.id}" for each in jax.devices()]) from None


def _inputs(model: Any, inputs: Array | Mapping[str, Array]) -> Any:
    import jax

    leaves = own.open_tree(model)[0].values()
    floats = (leaf.dtype for leaf in leaves if jax.numpy.issubdtype(leaf.dtype, np.floating))
    floating = next(floats, None)

    def cast(array: Array) -> Array:
        return array if floating is None or array.dtype.kind != "f" else array.astype(floating)

    if hasattr(inputs, "items"):
        return {name: cast(array) for name, array in inputs.items()}
    return cast(inputs)


def _called(model: Any, inputs: Any) -> Any:
    """The output; one whose code looks at values, which cannot be compiled, is computed step by step."""
    import jax
    from flax import nnx

    graph, state = nnx.split(model)
    try:
        return _compiled()(graph, state, inputs)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return _call(graph, state, inputs)


@functools.cache
def _compiled() -> Callable[..., Any]:
    import jax

    compiled: Callable[..., Any] = jax.jit(_call, static_argnums=0)
    return compiled


def _call(graph: Any, state: Any, inputs: Any) -> Any:
    """The module is put together anew, so that the mode and the random counts of the one given stay as they are."""
    from flax import nnx

    model = nnx.merge(graph, state)
    model.eval()
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)
