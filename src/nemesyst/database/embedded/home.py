"""The folder of an embedded server: its files, and what is remembered in them."""

from __future__ import annotations

import json
import os
import secrets
import socket
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nemesyst.database.embedded.checks import check_local, check_writable, disk_full, mounts, not_usable
from nemesyst.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICA_SET = "nemesyst"
USERNAME = "nemesyst"
NO_SPACE = 28


class Place(NamedTuple):
    """Where a process runs, as far as it matters for reaching a loopback address."""

    host: str
    boot: str
    network: str

    def reaches(self, other: Place) -> bool:
        """Whether a server at ``other`` can be reached over loopback from here."""
        return self[1:] == other[1:] if self.boot else self.host == other.host


def here() -> Place:
    """The place of this process: host name, boot id of the kernel, network namespace."""
    boot = network = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        network = str(Path("/proc/self/ns/net").stat().st_ino)
    return Place(socket.gethostname(), boot, network)


@dataclass(frozen=True)
class State:
    """What ``server.json`` remembers: the port for good, which mongod made the data, who runs it where.

    Attributes:
        port: The port, kept from start to start.
        version: Version of the mongod that made the data, such as ``"6.0.5"``.
        mongod: Path of that mongod.
        host: Host name where it ran last.
        boot: Boot id of the kernel there.
        network: Network namespace there.
        supervisor: Process id of the supervisor.
        pid: Process id of mongod.
    """

    port: int
    version: str
    mongod: str
    host: str
    boot: str
    network: str
    supervisor: int
    pid: int

    @property
    def place(self) -> Place:
        """Where the server ran last."""
        return Place(self.host, self.boot, self.network)

    @property
    def uri(self) -> str:
        """The address, without credentials."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}"


class Home:
    """The files of one embedded server.

    Attributes:
        folder: The folder, absolute and without links.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder.expanduser()))
        self.db = self.folder / "db"
        self.secret_file = self.folder / "secret"
        self.keyfile = self.folder / "keyfile"
        self.state_file = self.folder / "server.json"
        self.pinned = self.folder / "pinned"
        self.log = self.folder / "mongod.log"
        self.supervisor_log = self.folder / "supervisor.log"
        self.users_lock = self.folder / "users.lock"
        self.start_lock = self.folder / "start.lock"
        self.server_lock = self.folder / "server.lock"
        self.data_lock = self.folder / "data.lock"

    @property
    def has_data(self) -> bool:
        """Whether a mongod has put data here."""
        return (self.db / "WiredTiger").exists()

    def prepare(self, mountinfo: str | None = None) -> None:
        """Make the folder, private to this user, and check that a database may live there.

        Raises:
            EmbeddedServerError: It cannot be made or written, or is on a network file system.
        """
        check_local(self.folder, mounts() if mountinfo is None else mountinfo)
        with self.usable():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_writable(self.folder)
            if {path.name for path in self.folder.iterdir()} <= {"cache"}:
                # ours, so private; a folder that holds something else keeps its rights
                self.folder.chmod(0o700)
                (self.folder / ".gitignore").write_text("*\n", encoding="ascii")
            self.db.mkdir(mode=0o700, exist_ok=True)

    def state(self) -> State | None:
        """What ``server.json`` remembers; None if there is none yet.

        Raises:
            EmbeddedServerError: The file cannot be read or understood.
        """
        try:
            return State(**json.loads(self.state_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise EmbeddedServerError(
                f"{self.state_file}, which remembers the embedded server's port and version, is damaged: {error}",
                f"Delete it and connect again: the data stays, the port may change (rm {self.state_file}).",
            ) from None
        except OSError as error:
            raise not_usable(self.folder, f"{error.strerror}: {self.state_file.name}") from error

    def remember(self, state: State) -> None:
        """Write ``server.json``, whole or not at all."""
        with self.usable():
            _write(self.state_file, json.dumps(asdict(state), indent=2) + "\n")

    def secret(self) -> str:
        """The password of the server's user; made on the first call, before there is data.

        Raises:
            EmbeddedServerError: It is missing although there is data, or cannot be read.
        """
        with self.usable():
            if not self.secret_file.exists():
                if self.has_data:
                    raise EmbeddedServerError(
                        f"{self.secret_file}, the password of the embedded server, is missing, but its data is there",
                        f"Put it back from a backup, or move {self.db} away to begin with an empty database.",
                    )
                _write(self.secret_file, secrets.token_urlsafe(32) + "\n")
            password = self.secret_file.read_text(encoding="ascii", errors="replace").strip()
            if not password:
                raise EmbeddedServerError(
                    f"{self.secret_file}, the password of the embedded server, is empty",
                    f"Put it back from a backup, or move it and {self.db} away to begin with an empty database.",
                )
            return password

    def make_keyfile(self) -> None:
        """Write the key that members of the replica set share, if it is missing; there is only one member."""
        with self.usable():
            if not self.keyfile.exists():
                _write(self.keyfile, secrets.token_hex(32) + "\n")

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Turn what the operating system says about the folder into one of our errors."""
        try:
            yield
        except OSError as error:
            if error.errno == NO_SPACE:
                raise disk_full(self.folder, str(error.strerror)) from error
            where = f" ({error.filename})" if error.filename else ""
            raise not_usable(self.folder, f"{error.strerror}{where}") from error


def _write(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all, safe against power loss."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
