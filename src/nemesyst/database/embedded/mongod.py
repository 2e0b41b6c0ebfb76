"""One mongod process: its command line, its start and stop, and why it ended."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from nemesyst.database.embedded import ports
from nemesyst.database.embedded.home import REPLICA_SET
from nemesyst.database.embedded.reasons import reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemesyst.database.embedded.home import Home
    from nemesyst.errors import NemesystError

_STOPPING = 30  # s, before it is killed; acknowledged writes are in the journal either way
_POLL = 0.02  # s
_LOG_LIMIT = 20_000_000
_OPLOG_MB = 1024
_PR_SET_PDEATHSIG = 1


class Mongod:
    """A mongod on the loopback address, which dies with its parent.

    Args:
        home: Its folder.
        binary: The program.
        cache_gb: Memory for its cache, in GB (of 2^30 bytes).
        data_lock: Descriptor that the process keeps open, so that the lock is held while it lives.
    """

    def __init__(self, home: Home, binary: Path, cache_gb: float, data_lock: int) -> None:
        self.home = home
        self.binary = binary
        self.cache_gb = cache_gb
        self.data_lock = data_lock
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Process id, 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def was_killed(self) -> bool:
        """Whether it was killed from outside (``kill -9``, or the system when memory ran out)."""
        return self._process is not None and self._process.returncode == -signal.SIGKILL

    def start(self, port: int) -> None:
        """Start it and return when it listens; recovery after a crash may take its time.

        Raises:
            NemesystError: It ended; says why.
        """
        self.port = port
        self._log_start = self._turn_log()
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            pass_fds=(self.data_lock,),
            env={**os.environ, "LC_ALL": "C"},  # it refuses to start with a locale that is not installed
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it calls prctl alone, from a library loaded before
        )
        while not self._listens():
            self.alive()
            time.sleep(_POLL)

    def alive(self) -> None:
        """Raise, saying why, if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise self.why_ended()

    def wait(self) -> None:
        """Return when it has ended."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End it: asked first, killed when that takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def why_ended(self) -> NemesystError:
        """The error that says why it ended, out of its log."""
        code = self._process.returncode if self._process else 0
        return reason(self.home, self.port, code, self._log_start)

    def _command(self) -> list[str]:
        options: dict[str, object] = {
            "--dbpath": self.home.db,
            "--port": self.port,
            "--bind_ip": ports.LOOPBACK,
            "--replSet": REPLICA_SET,
            "--keyFile": self.home.keyfile,
            "--logpath": self.home.log,
            "--wiredTigerCacheSizeGB": f"{max(self.cache_gb, 0.25):g}",
            "--oplogSize": _OPLOG_MB,
            # zlib stays off: servers before 6.0.27 leak memory through it (CVE-2025-14847)
            "--networkMessageCompressors": "snappy,zstd",
        }
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            "shutdownTimeoutMillisForSignaledShutdown": "100",
            # what a killed process has begun holds others up no longer than this; ours take milliseconds
            "transactionLifetimeLimitSeconds": "10",
        }
        words = [str(word) for pair in options.items() for word in pair]
        for name, value in parameters.items():
            words += ["--setParameter", f"{name}={value}"]
        return [str(self.binary), *words, "--auth", "--nounixsocket", "--logappend", "--quiet"]

    def _listens(self) -> bool:
        try:
            socket.create_connection((ports.LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return self._process is not None and self._process.poll() is None

    def _turn_log(self) -> int:
        """Keep one old log of bounded size; returns where this run's log begins."""
        log = self.home.log
        if not log.exists():
            return 0
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_name("mongod.log.old"))
            return 0
        return log.stat().st_size


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs before it becomes mongod, so that no kill of the supervisor leaves one behind."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def before() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # died before the line above
            os._exit(1)

    return before
