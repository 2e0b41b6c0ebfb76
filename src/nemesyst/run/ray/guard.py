"""Tidies up behind a command that was killed: ``python -m nemesyst.run.ray.guard``.

Ray's servers end with the process that has started them, except two small ones, which look for it every few seconds,
and nobody removes the folder. The command holds the other end of standard input, and says in the first line what
there is; at the end of input this process tidies up and ends. It is in a session of its own, so that what ends the
command's process group leaves it the second that it needs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def begun(pid: int) -> str | None:
    """When a process has begun, in ticks, so that another one of the same number is not taken for it."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def kill_those(processes: Iterable[tuple[int, str | None]]) -> None:
    """End processes, given by number and beginning, if they are still there."""
    for pid, when in processes:
        if when is not None and begun(pid) == when:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Wait, then tidy up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    first = sys.stdin.readline()
    sys.stdin.read()
    if not first:
        return
    told = json.loads(first)
    kill_those(told["processes"])
    shutil.rmtree(told["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
