"""GPUs of this machine, given out to jobs by their index."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"
_PROC = Path("/proc/driver/nvidia/gpus")


def find_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` has them; imports no framework."""
    if (visible := os.environ.get(VISIBLE)) is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        return [] if names[:1] == ["-1"] else names
    with suppress(OSError):
        return [str(number) for number, _ in enumerate(_PROC.iterdir())]
    if shutil.which("nvidia-smi") is None:
        return []
    with suppress(OSError, subprocess.TimeoutExpired):
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
        lines = [line for line in told.stdout.splitlines() if line.startswith("GPU ")]
        return [str(number) for number, _ in enumerate(lines)]
    return []


class Gpus:
    """Which GPU has how much left to give.

    Args:
        names: The GPUs; None: those that are found when one is first asked for.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = None if names is None else list(names)
        self._free: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """All of them."""
        if self._names is None:
            self._names = find_gpus()
        if not self._free:
            self._free = dict.fromkeys(self._names, 1.0)
        return self._names

    def could(self, workers: int, each: float) -> bool:
        """Whether there are enough in all for so many workers, or none at all, and then they use the CPU."""
        return not each or not self.names or _plan(dict.fromkeys(self.names, 1.0), workers, each) is not None

    def fit(self, workers: int, each: float) -> bool:
        """Whether there are enough now."""
        return not each or not self.names or _plan(self._free, workers, each) is not None

    def take(self, workers: int, each: float) -> list[tuple[str, float]]:
        """Take GPUs for so many workers, in their order: names and shares; none where there are no GPUs."""
        taken = (_plan(self._free, workers, each) or []) if each and self.names else []
        for name, share in taken:
            self._free[name] -= share
        return taken

    def give_back(self, taken: Sequence[tuple[str, float]]) -> None:
        """Give back what was taken."""
        for name, share in taken:
            self._free[name] += share


def _plan(free: dict[str, float], workers: int, each: float) -> list[tuple[str, float]] | None:
    """Which GPUs to give to workers: part of one, or several whole ones, for each; None: there are too few."""
    left = dict(free)
    given: list[tuple[str, float]] = []
    for _ in range(workers):
        share = min(each, 1.0)
        for _ in range(math.ceil(each)):
            name = next((name for name, rest in left.items() if rest >= share - 1e-9), None)
            if name is None:
                return None
            left[name] -= share
            given.append((name, share))
    return given
