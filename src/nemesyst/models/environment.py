"""Where a model was made: the node, its Python and packages, and who was at work."""

from __future__ import annotations

import functools
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nemesyst.frameworks import Adapter

_PACKAGES = {
    "nemesyst": "nemesyst",
    "numpy": "numpy",
    "pymongo": "pymongo",
    "scipy": "scipy",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "jax": "jax",
    "flax": "flax",
    "optax": "optax",
    "sklearn": "scikit-learn",
    "skops": "skops",
    "xgboost": "xgboost",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
}
"""Packages whose versions are noted where a process uses them: module and distribution."""


def environment(adapter: Adapter) -> dict[str, Any]:
    """Python, platform, processor, threads, and the versions of the packages that this process uses."""
    packages = {name: _version_of(name) for name in _PACKAGES if name in sys.modules}
    packages[adapter.name] = adapter.version()
    found = {name: said for name, said in packages.items() if said is not None}
    return {**_machine(), "threads": _threads(), "packages": dict(sorted(found.items()))}


@functools.cache
def _machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}


def _processor() -> str:
    """The processor's model, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - no file on a disk
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _threads() -> int:
    """Threads that sums are divided among, as far as it can be told; else the cores that this process may use."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit():
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _version_of(name: str) -> str | None:
    try:
        return version(_PACKAGES[name])
    except PackageNotFoundError:
        found = getattr(sys.modules.get(name), "__version__", None)
        return None if found is None else str(found)


def user() -> str:
    """Who is at work: user and machine."""
    try:
        import getpass

        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in containers
        name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{name}@{platform.node()}"
