"""Which process does a run, and whether it is still there."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STATE, _BEGAN = 0, 19
"""Places in ``/proc/PID/stat``, counted after the program's name."""
_ENDED = ("Z", "X", "x")


@dataclass(frozen=True)
class Process:
    """A process on some node, told from a later one of the same number.

    Attributes:
        node: Host name.
        pid: Process id.
        boot: Boot id of the node's kernel; empty where there is none.
        space: Namespace that the process id counts in: containers have their own.
        began: When it began, in ticks since the boot; None: not known.
    """

    node: str
    pid: int
    boot: str = ""
    space: str = ""
    began: int | None = None

    @classmethod
    def here(cls) -> Self:
        """This process."""
        pid = os.getpid()
        found = _stat(pid)
        return cls(socket.gethostname(), pid, *_place(), None if found is None else found[1])

    @property
    def gone(self) -> bool | None:
        """Whether it has ended; None: that cannot be told from here, as it is on another node or in a container."""
        if (self.boot, self.space) != _place() or (not self.boot and self.node != socket.gethostname()):
            return None
        if not Path("/proc/self/stat").exists():
            return not _exists(self.pid)
        found = _stat(self.pid)
        return found is None or found[0] in _ENDED or (self.began is not None and found[1] != self.began)

    def interrupt(self) -> bool:
        """Send it what Ctrl-C sends; False: it is not to be reached from here."""
        if self.gone is not False:
            return False
        try:
            self._signal()
        except OSError:  # it has ended, or is another user's
            return False
        return True

    def _signal(self) -> None:
        if sys.platform != "linux":
            os.kill(self.pid, signal.SIGINT)
            return
        handle = os.pidfd_open(self.pid)
        try:
            if self.gone is False:  # its number did not go to another one meanwhile
                signal.pidfd_send_signal(handle, signal.SIGINT)
        finally:
            os.close(handle)


def _place() -> tuple[str, str]:
    """Boot id and process namespace of this process."""
    boot = space = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return boot, space


def _stat(pid: int) -> tuple[str, int] | None:
    """State and begin of a process; None: there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (words[_STATE], int(words[_BEGAN])) if len(words) > _BEGAN else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
