"""The state of a module as one stores it: names without wrappers, tied tensors, and whether it is only tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

_WRAPPERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
}
"""Classes that hold a module under a name of theirs (compiled, data parallel), and that name."""

_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_METHODS = ("state_dict", "_save_to_state_dict", "load_state_dict", "_load_from_state_dict")


def plain_names(model: torch.nn.Module, names: Iterable[str]) -> dict[str, str]:
    """From each name in the state dict to that in the plain module: without the names that wrappers add."""
    wrapped = set()
    for path, module in model.named_modules(remove_duplicate=False):
        kind = type(module)
        if own := _WRAPPERS.get(f"{kind.__module__}.{kind.__qualname__}"):
            wrapped.add(f"{path}.{own}" if path else own)
    return {name: _without(name, wrapped) if wrapped else name for name in names}


def _without(name: str, wrapped: set[str]) -> str:
    parts = name.split(".")
    return ".".join(part for n, part in enumerate(parts) if ".".join(parts[: n + 1]) not in wrapped)


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict under plain names; its tensors share the module's memory."""
    state = model.state_dict()
    names = plain_names(model, state)
    return {names[name]: tensor for name, tensor in state.items()}


def is_plain(model: torch.nn.Module) -> bool:
    """Whether the state dict is the module's own memory and loading is copying, with nobody's code in between."""
    import torch

    for module in model.modules():
        if any(getattr(module, hooks, None) for hooks in _HOOKS):
            return False
        for method in _METHODS:
            own = getattr(type(module), method)
            if own is not getattr(torch.nn.Module, method) and not own.__module__.startswith("torch.nn.modules."):
                return False
    return True


def ties(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """From each tensor that is the same memory in the same way as an earlier one, to that one."""
    first: dict[tuple[Any, ...], str] = {}
    tied = {}
    for name, tensor in state.items():
        if tensor.numel() == 0:
            continue
        same = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj())
        if (earlier := first.setdefault(same, name)) != name:
            tied[name] = earlier
    return tied
