"""Tensors of PyTorch as bytes, and bytes of a mapped file as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemesyst.errors import ModelError
from nemesyst.frameworks.memory import copy_bytes
from nemesyst.frameworks.tensors import Layout

if TYPE_CHECKING:
    import torch

    from nemesyst.frameworks.base import Array

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""Torch's name of each dtype."""

_NAMES = {torch_name: name for name, torch_name in DTYPES.items()}
_NUMPY_HAS = {name for name in _NAMES if not name.startswith(("bfloat", "float8"))} | {"complex128"}


def layout_of(name: str, tensor: object) -> Layout:
    """Dtype and shape of a tensor that can be stored.

    Raises:
        ModelError: It cannot: it is no tensor, has no values, is not dense, is spread over machines, or of a dtype
            that the format has not; names it.
    """
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise ModelError(
            f"{name} in the state dict is a {type(tensor).__name__}, not a tensor", "Keep it in args=, or in a buffer."
        )
    if torch.nn.parameter.is_lazy(tensor) or tensor.device.type == "meta":
        raise ModelError(f"{name} has no values yet", "Run the module once, so that its parameters are made.")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ModelError(f"{name} is sparse or quantized", "Make it dense (tensor.to_dense(), tensor.dequantize()).")
    if hasattr(tensor, "__tensor_flatten__"):
        raise ModelError(
            f"{name} is a {type(tensor).__name__}, which holds other tensors",
            "Make it a plain tensor first (full_tensor() of a DTensor).",
        )
    if (dtype := _NAMES.get(name_of_dtype(tensor))) is None:
        raise ModelError(f"{name} has dtype {tensor.dtype}", f"These can be stored: {', '.join(_NAMES)}.")
    return Layout(dtype, tuple(tensor.shape))


def name_of_dtype(tensor: torch.Tensor) -> str:
    """Such as ``"bfloat16"``."""
    return str(tensor.dtype).removeprefix("torch.")


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor; those of a dense one on the CPU are not copied."""
    import torch

    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def array_of(tensor: torch.Tensor) -> Array:
    """A tensor as a NumPy array; dtypes that NumPy has not become float32."""
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu()
    array: Array = (tensor if name_of_dtype(tensor) in _NUMPY_HAS else tensor.float()).numpy()
    return array


def copy_of(layout: Layout, view: memoryview) -> torch.Tensor:
    """A tensor of its own on the CPU with these bytes, of which no page is kept."""
    import torch

    tensor = torch.empty(layout.shape, dtype=getattr(torch, DTYPES[layout.dtype]))
    copy_bytes(view, _flat(tensor))
    return tensor


def fill(tensor: torch.Tensor, layout: Layout, view: memoryview) -> None:
    """Copy bytes into a tensor of this layout, wherever it is, without a second copy where it is dense on the CPU.

    The bytes are never given to PyTorch as a tensor: they are read-only, and what writes to them ends the process.
    """
    import torch

    plain = tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()
    with torch.no_grad():
        if plain:
            copy_bytes(view, _flat(tensor))
        else:
            tensor.copy_(copy_of(layout, view))


def _flat(tensor: torch.Tensor) -> Array:
    import torch

    flat: Array = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    return flat
