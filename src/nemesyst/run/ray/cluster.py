"""The Ray cluster: a running one, or one on this machine that ends with the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from nemesyst.errors import JobError, SettingsError, UnreachableError
from nemesyst.run.ray.guard import begun, kill_those
from nemesyst.run.signals import descendants
from nemesyst.run.threads import cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of what it will do about GPUs one day
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_process_group_cleanup_enabled": "0",  # jobs stay in the command's process group, and end with it
}
_SKIP = "RAY_DEDUP_LOGS_SKIP_REGEX"
"""Read when Ray is imported: lines that it does not print to this process's standard output, which is ours."""
_STORE = 128 << 20
"""Memory for Ray's shared objects on our own cluster, in bytes; data come from the database, not through it."""
_KNOCK = 5.0
"""How long a cluster has to answer, in s."""
_LONGEST = 24
"""Longest name of the system's folder for temporary files: a socket's name may have 107 bytes."""


@dataclass
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        cpus: CPUs of all nodes.
        gpus: GPUs of all nodes.
        elsewhere: Whether it has nodes on other machines.
        started: Whether it was started here.
        joined: Whether the connection was made here; else the caller's stays.
    """

    cpus: int
    gpus: float
    elsewhere: bool
    started: bool
    joined: bool
    _folder: Path | None = None
    _guard: subprocess.Popen[bytes] | None = None
    _servers: tuple[int, ...] = ()

    def close(self) -> None:
        """Leave it; one that was started here ends, and its folder goes."""
        if not self.joined:
            return
        known = [(pid, begun(pid)) for server in self._servers for pid in descendants(server)]
        with _signals_kept():
            load_ray().shutdown()
        kill_those(known)  # they would see it themselves, some seconds later
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._guard is not None:
            cast("IO[bytes]", self._guard.stdin).close()
            self._guard.wait()


def load_ray() -> ModuleType:
    """The package ``ray``.

    Raises:
        SettingsError: It is not installed, or not whole.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if _has_token():  # as `ray start` does; who joins a cluster has to say so
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    mine = _SKIP not in os.environ
    os.environ.setdefault(_SKIP, ".")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(f"executor 'ray' needs Ray: {error}", "pip install 'nemesyst[ray]'") from None
    finally:
        if mine:  # jobs may use Ray for themselves
            del os.environ[_SKIP]
    return ray


def _has_token() -> bool:
    """Whether there is a token for clusters that ask for one, where Ray looks for it."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path.home() / ".ray" / "auth_token").is_file()


def open_cluster(address: str | None, processes: int | None) -> Cluster:
    """Connect to a cluster; without an address (nor ``RAY_ADDRESS``), start one on this machine.

    A connection that this process already has is used as it is.

    Args:
        address: ``host:port``, or ``auto`` for the one on this machine.
        processes: Jobs that a started one has room for; None: the number of cores.

    Raises:
        SettingsError: Ray is not installed, or the address is none.
        UnreachableError: Nothing answers at the address.
        JobError: None could be started.
    """
    ray = load_ray()
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address and "://" in address:
        raise SettingsError(
            f"ray_address {address!r}: a client's address is not supported",
            "Run the command on a node of the cluster (or as a Ray job), with its address as host:port or auto.",
        )
    if ray.is_initialized():
        return _found(ray, started=False, joined=False)
    return _start(ray, processes) if address in (None, "local") else _join(ray, str(address))


def _join(ray: ModuleType, address: str) -> Cluster:
    try:
        if address != "auto":
            _knock(address)
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UnreachableError(
            f"no Ray cluster answers at {address}: {_first_line(error)}",
            "Check ray_address or RAY_ADDRESS, that this machine is a node of it (ray status), and its token; "
            "without an address, a cluster is started on this machine.",
        ) from None
    return _found(ray, started=False, joined=True)


def _knock(address: str) -> None:
    """See that something listens there: Ray itself would try for ever.

    Raises:
        OSError: Nothing does.
        SettingsError: The address is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"ray_address {address!r} is no address of a cluster", "Such as node1:6379, or auto.")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def _start(ray: ModuleType, processes: int | None) -> Cluster:
    before = set(descendants(os.getpid()))
    folder = _folder()
    guard = _guard()
    try:
        with _signals_kept():
            ray.init(
                address="local",
                num_cpus=max(cores(), processes or 1),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=_STORE,
                _temp_dir=str(folder),
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise JobError(
            f"no Ray cluster could be started here: {_first_line(error)}",
            "Start one with: ray start --head; and give its address as RAY_ADDRESS.",
        ) from None
    finally:
        ours = set(descendants(os.getpid())) - before - {guard.pid}
        told = {"folder": str(folder), "processes": [(pid, begun(pid)) for pid in ours]}
        stdin = cast("IO[bytes]", guard.stdin)
        with suppress(OSError):
            stdin.write(json.dumps(told).encode() + b"\n")
            stdin.flush()
    found = _found(ray, started=True, joined=True)
    found._folder, found._guard, found._servers = folder, guard, tuple(ours)  # noqa: SLF001 - of this module
    return found


def _found(ray: ModuleType, *, started: bool, joined: bool) -> Cluster:
    resources: dict[str, Any] = ray.cluster_resources()
    here = ray.util.get_node_ip_address()
    elsewhere = any(node["Alive"] and node["NodeManagerAddress"] != here for node in ray.nodes())
    return Cluster(int(resources.get("CPU", 0)), float(resources.get("GPU", 0.0)), elsewhere, started, joined)


def _folder() -> Path:
    """A folder with a short name, for sockets and logs."""
    system = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=f"nm-ray-{os.getpid()}-", dir=system if len(system) <= _LONGEST else "/tmp"))  # noqa: S108 - made by mkdtemp, for this user alone


def _guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nemesyst.run.ray.guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets handlers of its own; ours stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
