"""Batches as JAX arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.frameworks.batches import is_text, not_installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.frameworks.batches import Array, Batches

_WIDE = {"int64": np.int32, "uint64": np.uint32}
"""What JAX makes of wide integers, unless it is told to keep them."""


def jax_batches(batches: Batches, device: Any = None) -> Iterator[dict[str, Any]]:
    """One epoch as dicts of JAX arrays; dates and strings stay NumPy arrays.

    On the CPU JAX shares the memory of an array where it is aligned for it (64 bytes), and copies it otherwise. As
    everywhere in JAX, 64-bit numbers become 32-bit ones unless ``jax_enable_x64`` is set.

    Args:
        batches: What to read.
        device: A ``jax.Device``, a sharding, or the name of a platform such as ``"gpu"``; None: JAX's default.

    Raises:
        FeedError: JAX is not installed, there is no such device, or an integer does not fit into 32 bits.
    """
    try:
        import jax
    except ImportError:
        raise not_installed("to_jax", "JAX", "jax") from None
    place = _device(jax, device)
    config: Any = jax.config
    wide = bool(config.jax_enable_x64)
    return ({name: _array(jax, name, values, place, wide) for name, values in batch.items()} for batch in batches)


def _device(jax: Any, device: Any) -> Any:
    if not isinstance(device, str):
        return device
    try:
        return jax.devices(device)[0]
    except RuntimeError as error:
        raise FeedError(
            f"to_jax(device={device!r}): {str(error).splitlines()[0]}", f"Here is: {jax.default_backend()!r}."
        ) from None


def _array(jax: Any, name: str, values: Array, device: Any, wide: bool) -> Any:
    if is_text(values) or values.dtype.kind == "M":
        return values
    if not wide and values.size and (narrow := _WIDE.get(values.dtype.name)) is not None:
        low, high = np.iinfo(narrow).min, np.iinfo(narrow).max
        if values.min() < low or values.max() > high:
            raise FeedError(
                f"to_jax: array {name!r} holds {values.dtype} values up to {values.max()}, which JAX would cut to "
                f"{np.dtype(narrow)}",
                'Set jax.config.update("jax_enable_x64", True), or leave the field out.',
            )
    return jax.device_put(values, device, may_alias=True)
