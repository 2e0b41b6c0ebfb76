"""Real mongods of the tests' own: standalone, with users, with TLS, as a replica set that can lose its primary."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from nemesyst.database.embedded.binary import find_mongod
from nemesyst.database.embedded.mongod import _die_with_parent
from nemesyst.database.embedded.ports import choose

PATIENCE = 60  # s; a limit, never waited for


class Node:
    """A mongod on a port and a folder of its own, which it keeps over kills and restarts."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder, self.port = folder, choose()
        self.options = [str(option) for option in options]
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it; it listens when :meth:`ready` returns."""
        binary = find_mongod(None, self.folder / "bin").path
        command = [binary, "--dbpath", self.folder, "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        command += ["--logpath", self.folder / "log", "--logappend", "--wiredTigerCacheSizeGB", "0.25"]
        command += ["--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        self.process = subprocess.Popen(
            [*command, *self.options], stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent()
        )

    def ready(self, **options):
        """Return when it answers."""
        with self.direct(**options) as client:
            while True:
                assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                with suppress(PyMongoError):
                    return client.admin.command("hello")

    def direct(self, **options):
        """A client of this node alone."""
        chosen = {"directConnection": True, "serverSelectionTimeoutMS": 1000, **options}
        return MongoClient(self.host, **chosen)

    def kill(self):
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def running(*nodes, **options):
    """Start nodes side by side; they are killed at the end."""
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        for node in nodes:
            node.ready(**options)
        yield


def initiate(nodes, **options):
    """Make the nodes, which answer, one replica set; returns when it has a primary."""
    members = [{"_id": n, "host": node.host, "priority": 1} for n, node in enumerate(nodes)]
    config = {
        "_id": "rs",
        "members": members,
        "settings": {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200},
    }
    with nodes[0].direct(**options) as client:
        client.admin.command("replSetInitiate", config)
        wait(lambda: any(is_primary(node, **options) for node in nodes))


def is_primary(node, **options):
    """Whether a node is up and the primary."""
    if node.process is None:
        return False
    with node.direct(**options) as client, suppress(PyMongoError):
        return client.admin.command("hello")["isWritablePrimary"]


def wait(holds):
    """Return when something holds; ask the servers again and again."""
    import time

    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def set_address(nodes, *options):
    """The address of the replica set."""
    return f"mongodb://{','.join(node.host for node in nodes)}/?{'&'.join(['replicaSet=rs', *options])}"


def key_file(folder):
    """A file that the members of a replica set with users know each other by."""
    file = folder / "key"
    file.write_text("nemesyst" * 8)
    file.chmod(0o600)
    return file


def add_user(client, name, password, *roles, source="admin"):
    """Add a user with roles given as (role, database)."""
    said = {} if password is None else {"pwd": password}
    given = [{"role": role, "db": database} for role, database in roles]
    with suppress(OperationFailure):
        client[source].command("dropUser", name)
    client[source].command("createUser", name, **said, roles=given)


class Certificates:
    """A certificate authority, made by openssl, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        self.folder = folder
        folder.mkdir()
        self.authority = self._openssl("ca", "/O=authority/CN=ca", "-x509")

    def signed(self, name, subject, *extensions):
        """A key with its certificate in one file, as mongod and the driver want it."""
        self._openssl(name, subject)
        signing = ["-CA", self.authority, "-CAkey", self.folder / "ca.key", "-CAcreateserial"]
        (self.folder / "extensions").write_text("\n".join(extensions))
        request, certificate = self.folder / f"{name}.crt", self.folder / f"{name}.signed"
        command = ["openssl", "x509", "-req", "-in", request, *signing, "-out", certificate, "-days", "2"]
        subprocess.run([*command, "-extfile", self.folder / "extensions"], check=True, capture_output=True)
        both = self.folder / f"{name}.pem"
        both.write_bytes((self.folder / f"{name}.key").read_bytes() + certificate.read_bytes())
        return both

    def _openssl(self, name, subject, *options):
        file = self.folder / f"{name}.crt"
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", self.folder / f"{name}.key"]
        command = ["openssl", "req", "-new", *key, "-subj", subject, "-out", file, *options]
        subprocess.run(command, check=True, capture_output=True)
        return file
