"""The port of an embedded server: choosing one, and saying who took it."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

from nemesyst.errors import EmbeddedServerError

LOOPBACK = "127.0.0.1"

_RANGE = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections, one of which could else sit on ours when we come back."""

_LISTEN = "0A"


def is_free(port: int) -> bool:
    """Whether mongod could listen on a port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mongod does
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose() -> int:
    """A free port."""
    for port in random.SystemRandom().sample(_RANGE, 100):
        if is_free(port):
            return port
    with socket.socket() as probe:  # nearly all are taken: the system knows which are not
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def taken(port: int) -> EmbeddedServerError:
    """The error of a port that another program has."""
    return EmbeddedServerError(
        f"port {port} of the embedded server is taken by {holder(port) or 'another program'}",
        f"End that program, or take another port for good: nemesyst db start --port {choose()}",
    )


def holder(port: int) -> str | None:
    """Name the program that listens on a port, as far as this user may see: ``"process 12 (python)"``."""
    sockets = _listening(port)
    for process in Path("/proc").iterdir() if sockets else ():
        with suppress(OSError):  # no process, gone meanwhile, or another user's
            if any(str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir()):
                return f"process {process.name} ({_program(process)})"
    return None


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _program(process: Path) -> str:
    return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
