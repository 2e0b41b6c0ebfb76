"""Cores and threads: processes side by side share the cores instead of each taking all of them."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""What libraries read, when they are loaded, about how many threads to use."""

_OPENBLAS = tuple(f"{before}openblas_set_num_threads{after}" for before in ("scipy_", "") for after in ("64_", ""))
"""Names under which builds of OpenBLAS let the number be set later."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_settings(threads: int) -> dict[str, str]:
    """Environment of a process that is to use so many threads; what the user has set stays."""
    return {**{name: os.environ.get(name, str(threads)) for name in VARIABLES}, **waiting()}


def waiting() -> dict[str, str]:
    """How threads wait for one another, in the environment of a process; read when the library is loaded."""
    # By spinning, two trainings on the same cores take six times as long as one after the other.
    return {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}


def limit_threads() -> None:
    """Have the libraries that are loaded already follow the environment of now; the others read it themselves."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(_wanted("OMP_NUM_THREADS"))
    for library in _loaded("openblas"):
        for name in _OPENBLAS:
            with suppress(AttributeError):
                getattr(library, name)(_wanted("OPENBLAS_NUM_THREADS"))


def _wanted(variable: str) -> int:
    text = os.environ.get(variable, "").split(",")[0]
    return int(text) if text.isdigit() and int(text) else cores()


def _loaded(name: str) -> list[ctypes.CDLL]:
    """Libraries of this process with a name like that (Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = {line.split(maxsplit=5)[5] for line in lines if name in line and line.count("/")}
    libraries = []
    for path in sorted(found):
        with suppress(OSError):
            libraries.append(ctypes.CDLL(path))
    return libraries
