"""Folders in memory for the servers of the tests.

On a disk every acknowledged write waits for it, and most of a test's time is that waiting. A process that is killed
leaves the same behind in either place; what is about disks has servers on a disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - Linux' file system in memory; elsewhere it is not there
ROOM = 4 << 30  # bytes; containers often have 64 MB
MARK = "nemesyst-tests-"


def folder_in_memory(otherwise: Path) -> Path:
    """Make an empty folder in memory, or ``otherwise`` when there is little room; whoever asks deletes it."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        otherwise.mkdir()
        return otherwise
    _delete_those_of_killed_runs()
    return Path(tempfile.mkdtemp(prefix=f"{MARK}{os.getpid()}-", dir=MEMORY))


def _delete_those_of_killed_runs() -> None:
    for folder in MEMORY.glob(f"{MARK}*"):
        process = folder.name.removeprefix(MARK).partition("-")[0]
        if not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)
