"""Optimisers of PyTorch: their state tensors as a safetensors file, the rest as JSON in its header."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import torch_tensors as own
from nemesyst.frameworks.tensors import Layout, check_fit, unpack, write
from nemesyst.frameworks.torch_state import plain_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from nemesyst.frameworks.base import Buffer

_TENSOR = "tensor"
"""JSON: ``{"tensor": name}`` stands for a tensor, ``{"dict": {...}}`` and ``{"tuple": [...]}`` for those."""


def dump(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Buffer]:
    """The optimiser of a model; parameters are named as in the model.

    Raises:
        ModelError: It is no optimiser of PyTorch, or holds what is neither tensor nor number; names it.
    """
    labels = _labels(model, optimizer)
    told = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    groups = []
    for n, group in enumerate(told["param_groups"]):
        options = {key: value for key, value in group.items() if key != "params"}
        encoded = {key: _encoded(f"group/{n}/{key}", value, tensors, texts=True) for key, value in options.items()}
        groups.append({"options": encoded, "params": [labels[index] for index in group["params"]]})
    state = {
        labels[index]: {key: _encoded(f"{labels[index]}/{key}", value, tensors) for key, value in values.items()}
        for index, values in told["state"].items()
    }
    text = {
        "class": type(optimizer).__qualname__,
        "parameters": {name: [layout.dtype, layout.shape] for name, layout in _layouts(labels, optimizer).items()},
        "groups": groups,
        "state": state,
    }
    layouts = {name: own.layout_of(name, tensor) for name, tensor in tensors.items()}
    metadata = {"optimizer": json.dumps(text, sort_keys=True)}
    return write(layouts, metadata, lambda name: own.bytes_of(tensors[name]))


def load(data: Buffer, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Restore in place what :func:`dump` gave, after class, parameters and groups were compared.

    Raises:
        CorruptBlobError: The bytes are not what :func:`dump` gives.
        MismatchError: They are of another class or of other parameters; names them, with both shapes.
    """
    labels = _labels(model, optimizer)
    contents = unpack(data)
    try:
        told = json.loads(contents.metadata["optimizer"])
        stored = {name: Layout(str(kind), tuple(shape)) for name, (kind, shape) in told["parameters"].items()}
        kind, members = told["class"], [group["params"] for group in told["groups"]]
        tensors = {name: own.copy_of(contents.layouts[name], view) for name, view in contents.views.items()}
        state = {name: {key: _decoded(value, tensors) for key, value in values.items()}
                 for name, values in told["state"].items()}  # fmt: skip
        options = [
            {key: _decoded(value, tensors) for key, value in group["options"].items()} for group in told["groups"]
        ]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptBlobError(f"not the state of an optimiser: {type(error).__name__} {error}") from None
    if kind != type(optimizer).__qualname__:
        raise MismatchError(
            f"the stored optimiser is a {kind}, the one to restore a {type(optimizer).__name__}", f"Make a {kind}."
        )
    check_fit(stored, _layouts(labels, optimizer), "optimiser's parameters")
    _check_groups(
        members, [[labels[index] for index in group["params"]] for group in optimizer.state_dict()["param_groups"]]
    )
    if unknown := [name for name in state if name not in stored]:
        raise CorruptBlobError(f"there is a state of {unknown[0]!r}, which is no parameter")
    _restore(optimizer, {index: state[label] for index, label in labels.items() if label in state}, options)
    return optimizer


def _labels(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The name of each parameter by its number in the optimiser's state dict."""
    import torch

    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ModelError(
            f"optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer", "Give the model's own optimiser."
        )
    held = dict(model.named_parameters())
    names = {id(held[name]): plain for name, plain in plain_names(model, held).items()}
    labels = {}
    for numbered, group in zip(optimizer.state_dict()["param_groups"], optimizer.param_groups, strict=True):
        for index, parameter in zip(numbered["params"], group["params"], strict=True):
            labels[index] = names.get(id(parameter), f"parameter {index}")
    return labels


def _layouts(labels: dict[int, str], optimizer: torch.optim.Optimizer) -> dict[str, Layout]:
    held = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    return {label: own.layout_of(label, parameter) for label, parameter in zip(labels.values(), held, strict=True)}


def _encoded(name: str, value: Any, tensors: dict[str, torch.Tensor], *, texts: bool = False) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if value is None or isinstance(value, bool | int | float) or (texts and isinstance(value, str)):
        return value
    if isinstance(value, list | tuple):
        items = [_encoded(f"{name}/{n}", item, tensors, texts=texts) for n, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(f"{name}/{key}", item, tensors, texts=texts) for key, item in value.items()}}
    raise ModelError(
        f"the optimiser's {name} is a {type(value).__name__}, neither tensor nor number",
        "Save without optimizer=, or keep it apart.",
    )


def _decoded(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == _TENSOR:
        return tensors[inner]
    if kind == "tuple":
        return tuple(_decoded(item, tensors) for item in inner)
    if kind == "dict":
        return {key: _decoded(item, tensors) for key, item in inner.items()}
    raise ValueError(f"{kind!r} is no kind of value")


def _check_groups(stored: list[list[str]], target: list[list[str]]) -> None:
    if stored != target:
        sizes = [[len(group) for group in groups] for groups in (stored, target)]
        raise MismatchError(
            f"the stored optimiser has parameter groups of {sizes[0]} parameters, the one to restore of {sizes[1]}, "
            "or the same ones in another order",
            "Make it with the same parameter groups.",
        )


def _restore(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]], options: list[dict[str, Any]]) -> None:
    told = optimizer.state_dict()
    # an option that a newer PyTorch has added keeps the value that it has here
    groups = [
        {**group, **own_, "params": group["params"]} for group, own_ in zip(told["param_groups"], options, strict=True)
    ]
    try:
        optimizer.load_state_dict({**told, "state": state, "param_groups": groups})
    except (ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise MismatchError(
            f"{type(optimizer).__name__} refused the stored state: {error}", "Make it as it was when it was saved."
        ) from error
    _keep_dtypes(optimizer, state)


def _keep_dtypes(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """PyTorch casts state to the dtype of its parameter; an optimiser that keeps float32 for bfloat16 wants its own."""
    import torch

    held = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    for index, values in state.items():
        for key, value in values.items():
            placed = optimizer.state[held[index]].get(key)
            if isinstance(value, torch.Tensor) and placed is not None and placed.dtype != value.dtype:
                optimizer.state[held[index]][key] = value.to(placed.device)
