"""Arrays as tensors of a safetensors file: dtypes, layouts, bytes; those that NumPy lacks come from ``ml_dtypes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError
from nemesyst.frameworks.memory import copy_bytes
from nemesyst.frameworks.tensors import Layout

if TYPE_CHECKING:
    from nemesyst.frameworks.base import Array

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "C64": "<c8",
}  # fmt: skip
"""NumPy's name of each dtype that both know."""

EXTRA = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""The name in ``ml_dtypes`` of each dtype that NumPy lacks."""

_NAMES = {np.dtype(numpy).name: name for name, numpy in DTYPES.items()} | {own: name for name, own in EXTRA.items()}


def layout(name: str, dtype: object, shape: tuple[int, ...]) -> Layout:
    """The layout of an array, by its dtype (NumPy's, or its name).

    Raises:
        ModelError: The format has no such dtype; names the array.
    """
    told = dtype if isinstance(dtype, str) else np.dtype(dtype).name  # type: ignore[call-overload]  # whatever has a dtype
    if told not in _NAMES:
        raise ModelError(f"{name} has dtype {dtype}", f"These can be stored: {', '.join(_NAMES)}.")
    return Layout(_NAMES[told], tuple(int(size) for size in shape))


def dtype_of(name: str, own: Layout) -> np.dtype[Any]:
    """NumPy's dtype of a layout.

    Raises:
        ModelError: It comes from ``ml_dtypes``, which is not installed; names the array.
    """
    if own.dtype in DTYPES:
        return np.dtype(DTYPES[own.dtype])
    try:
        import ml_dtypes
    except ImportError:
        raise ModelError(f"{name} is {own}, which NumPy has not", "pip install ml_dtypes") from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, EXTRA[own.dtype]))
    return dtype


def view_of(name: str, own: Layout, data: memoryview) -> Array:
    """The array whose bytes these are; nothing is copied."""
    return np.frombuffer(data, dtype_of(name, own)).reshape(own.shape)


def copy_of(name: str, own: Layout, data: memoryview) -> Array:
    """An array of its own with these bytes, of which no page is kept."""
    array: Array = np.empty(own.shape, dtype_of(name, own))
    copy_bytes(data, array.reshape(-1).view(np.uint8))
    return array


def bytes_of(array: Array) -> memoryview:
    """The bytes of an array, in C order and little-endian; copied only where it is not so already."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data
