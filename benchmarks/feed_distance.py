"""A cold epoch over TLS with a round trip of 5 ms, beside the same on loopback.

    python benchmarks/feed_distance.py --rows 500000 --milliseconds 5 --rounds 5

The server is one of its own; a proxy in a process of its own holds back what goes either way.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feed_rows import TELEMETRY
from measuring import Place, Target, Way, arguments, interleaved, show
from measuring.place import DATABASE, STATE
from measuring.proxy import delay
from put import telemetry
from pymongo import MongoClient
from pymongo.errors import PyMongoError

import nemesyst as nm
from nemesyst.database.embedded.binary import find_mongod
from nemesyst.database.embedded.ports import choose

if TYPE_CHECKING:
    from collections.abc import Iterator


def certificate(folder: Path) -> Path:
    """A key and a certificate that it signed itself."""
    key, made, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """A replica set of one that takes TLS and plain connections; gives its port."""
    port, data = choose(), folder / "data"
    data.mkdir()
    command = [str(find_mongod(None, folder / "bin").path), "--dbpath", str(data), "--port", str(port)]
    command += ["--bind_ip", "127.0.0.1", "--replSet", "rs", "--tlsMode", "preferTLS", "--nounixsocket"]
    command += ["--tlsCertificateKeyFile", str(certificate(folder)), "--logpath", str(folder / "log")]
    command += ["--tlsAllowConnectionsWithoutCertificates", "--tlsCAFile", str(folder / "certificate.pem")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with MongoClient(port=port, directConnection=True, serverSelectionTimeoutMS=30_000) as client:  # type: ignore[var-annotated]
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            client.admin.command("replSetInitiate", {"_id": "rs", "members": members})
            while not client.admin.command("hello")["isWritablePrimary"]:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def proxy(port: int, seconds: float) -> Iterator[int]:
    """What listens on another port and holds back what goes to and fro, half of the round trip each way."""
    other = choose()
    process = multiprocessing.get_context("spawn").Process(target=delay, args=(other, port, seconds / 2), daemon=True)
    process.start()
    try:
        with suppress(PyMongoError), MongoClient(port=other, directConnection=True) as client:  # type: ignore[var-annotated]
            client.admin.command("ping")
        yield other
    finally:
        process.terminate()
        process.join()


def main() -> None:
    given = arguments(__doc__, rows=500_000, milliseconds=5)
    tls = {"tls": True, "tlsAllowInvalidCertificates": True}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        port = stack.enter_context(server(folder))
        far = stack.enter_context(proxy(port, given.milliseconds / 1000))

        def epoch(port: int, options: dict[str, Any]) -> Any:
            address = f"mongodb://127.0.0.1:{port}/?directConnection=true"
            hub = nm.connect(address, database=DATABASE, state=STATE, home=folder, **options)
            here = Place(stack.enter_context(hub), address, folder)
            return here.cold("telemetry", **TELEMETRY)

        near = epoch(port, {})
        with nm.connect(f"mongodb://127.0.0.1:{port}/?directConnection=true", database=DATABASE, home=folder) as hub:
            hub.put("telemetry", telemetry(given.rows))
        ways = [
            Way("loopback, plain", given.rows, near),
            Way("loopback, TLS", given.rows, epoch(port, tls)),
            Way(f"{given.milliseconds} ms, TLS", given.rows, epoch(far, tls)),
        ]
        distant = ways[-1].name
        targets = [Target(distant, "loopback, plain", 0.8), Target(distant, "loopback, TLS", 0.8)]
        show("a cold epoch from a distance, rows", ways, interleaved(ways, given.rounds), targets)


if __name__ == "__main__":
    main()
