"""Real mongods of the tests' own: standalone, with users, with TLS, as a replica set that can lose its primary."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from nemesyst.database.embedded.binary import find_mongod
from nemesyst.database.embedded.mongod import _die_with_parent
from nemesyst.database.embedded.ports import choose

from ..memory import folder_in_memory  # noqa: TID252 - the tests are no package that has a name

PATIENCE = 90  # s; a limit, never waited for


class Node:
    """A mongod on a port and a folder of its own, which it keeps over kills and restarts.

    ``folder`` is made where memory has no room for one. ``options`` are mongod's; ``access`` is what a client needs
    to get in.
    """

    def __init__(self, folder: Path, *options: object, access: dict | None = None) -> None:
        self.folder, self.port, self.access = folder_in_memory(folder), choose(), access or {}
        self.options = [str(option) for option in options]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self):
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it; it answers when :meth:`hello` returns."""
        given = os.environ.get("NEMESYST_MONGOD")  # where the embedded extra is not installed
        binary = find_mongod(Path(given) if given else None, self.folder / "bin").path
        command = [binary, "--dbpath", self.folder, "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        command += ["--logpath", self.folder / "log", "--logappend", "--wiredTigerCacheSizeGB", "0.25"]
        command += ["--wiredTigerEngineConfigString", "log=(prealloc=false)"]  # else 200 MB of empty files
        command += ["--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false", *self.options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it calls prctl alone
        )

    def hello(self):
        """What it says of itself, as soon as it answers."""
        with self.client() as client:
            while True:
                assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                with suppress(PyMongoError):
                    return client.admin.command("hello")

    def client(self, **user):
        """A client of this node alone."""
        return MongoClient(
            self.host, directConnection=True, serverSelectionTimeoutMS=1000, w="majority", **self.access, **user
        )

    def leads(self):
        """Whether it is up and the primary."""
        return self.process is not None and self.hello()["isWritablePrimary"]

    def follows(self):
        """Whether it is up and a secondary."""
        return self.process is not None and self.hello()["secondary"]

    def kill(self):
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def running(*nodes):
    """Start nodes side by side; they are killed at the end, and their folders go."""
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(shutil.rmtree, node.folder, ignore_errors=True)
            stack.callback(node.kill)
            node.start()
        for node in nodes:
            node.hello()
        yield


def until(holds):
    """Return when something holds, by asking the servers again and again; one that recovers may refuse to answer."""
    end = time.monotonic() + PATIENCE
    while not _answers(holds):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def _answers(holds):
    try:
        return holds()
    except PyMongoError:
        return False


class ReplicaSet:
    """Nodes, which answer, as one replica set with quick elections."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        members = [{"_id": n, "host": node.host} for n, node in enumerate(nodes)]
        quick = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
        with nodes[0].client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs", "members": members, "settings": quick})
        self.settle()

    @property
    def address(self):
        """The address of all nodes."""
        return f"mongodb://{','.join(node.host for node in self.nodes)}/?replicaSet=rs"

    @property
    def primary(self):
        """The node that leads; waits while none does."""
        until(lambda: any(node.leads() for node in self.nodes))
        return next(node for node in self.nodes if node.leads())

    def settle(self):
        """Start those that were killed, and return when one leads and the others follow."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        until(lambda: sum(node.follows() for node in self.nodes) == len(self.nodes) - 1)
        until(lambda: any(node.leads() for node in self.nodes))


def key_file(folder):
    """A file that the members of a replica set with users know each other by."""
    file = folder / "key"
    file.write_text("nemesyst" * 8)
    file.chmod(0o600)
    return file


def add_user(client, name, password, *roles, source="admin"):
    """Add a user with roles given as (role, database); no password: one known by a certificate."""
    said = {} if password is None else {"pwd": password}
    client[source].command("createUser", name, **said, roles=[{"role": role, "db": name} for role, name in roles])


class Certificates:
    """A certificate authority, made by openssl, and what it signs."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        self.folder = folder
        folder.mkdir()
        self.authority = self._openssl("ca", "/O=authority/CN=ca", "-x509")

    def signed(self, name, subject, names=""):
        """A key with its certificate in one file, as mongod and the driver want it."""
        request, certificate = self._openssl(name, subject), self.folder / f"{name}.signed"
        (self.folder / "extensions").write_text(names and f"subjectAltName={names}")
        command = ["openssl", "x509", "-req", "-in", request, "-out", certificate, "-days", "2"]
        command += ["-CA", self.authority, "-CAkey", self.folder / "ca.key", "-CAcreateserial"]
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
