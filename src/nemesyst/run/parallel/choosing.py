"""Which framework trains: the one that a script imports."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from nemesyst.errors import ScriptError

if TYPE_CHECKING:
    from pathlib import Path

_TORCH = {"torch", "lightning", "pytorch_lightning", "accelerate", "transformers"}
_JAX = {"jax", "flax", "optax", "equinox"}


def imported_by(path: Path) -> set[str]:
    """Packages that a script imports anywhere in it, or in a module that lies beside it; runs nothing."""
    found: set[str] = set()
    seen, following = {path}, [path]
    while following:
        names = _imports(following.pop())
        found |= names
        beside = {path.with_name(f"{name}.py") for name in names} - seen
        seen |= beside
        following += [module for module in beside if module.is_file()]
    return found


def _imports(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()  # whoever loads it says what is wrong
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def framework_of(path: Path, name: str) -> Literal["torch", "jax"]:
    """The framework whose processes train together.

    Raises:
        ScriptError: The script imports none that can.
    """
    found = imported_by(path)
    if "keras" in found or "tensorflow" in found:
        kind = "Keras" if "keras" in found else "TensorFlow"
        raise ScriptError(
            f"{path}: {name} asks for workers, and a script with {kind} cannot train one model in several processes",
            "Leave workers= out: one process uses all cores. Or write the loop in PyTorch or JAX (jax.grad over "
            "the model's stateless_call).",
        )
    if found & _TORCH:
        return "torch"
    if found & _JAX:
        return "jax"
    raise ScriptError(
        f"{path}: {name} asks for workers, and the script imports neither PyTorch nor JAX",
        "Leave workers= out; independent models are trained side by side by entities= or grid=.",
    )
