"""What can be wrong with an embedded server: each is one clear sentence with the remedy."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from nemesyst.database.embedded import open_embedded, stop
from nemesyst.database.embedded.binary import find_mongod, wheel_mongod
from nemesyst.database.embedded.checks import file_system
from nemesyst.database.embedded.home import Home
from nemesyst.errors import DiskFullError, EmbeddedServerError

from .conftest import client

pytestmark = pytest.mark.slow


NFS = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 25 0:41 / /mnt/my\\040share rw,relatime - nfs4 server:/export rw\n"

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and changing the network namespace need root")


def used_once(place):
    """Make data, and a server that is down again."""
    with open_embedded(place.folder) as server, client(server) as mongo:
        mongo.data.rows.insert_one({"_id": 1})
    stop(place.folder)


def change_state(place, **changes):
    state = json.loads(place.state_file.read_text())
    place.state_file.write_text(json.dumps(state | changes))


@contextmanager
def other_program(port):
    """Something that is no mongod listens on a port, and hangs up on whoever comes."""
    with socketserver.TCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler) as listener:
        threading.Thread(target=listener.serve_forever).start()
        yield
        listener.shutdown()


def test_no_mongod_where_one_is_named(place):
    with pytest.raises(EmbeddedServerError, match="there is no mongod at /nowhere/mongod") as error:
        open_embedded(place.folder, mongod=Path("/nowhere/mongod"))
    assert "pip install 'nemesyst[embedded]'" in error.value.remedy
    assert "NEMESYST_MONGOD" in error.value.remedy


def test_a_mongod_that_cannot_run(place, tmp_path):
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\necho 'mongod: error while loading shared libraries: libcrypto.so.3' >&2; exit 127\n")
    broken.chmod(0o755)
    with pytest.raises(EmbeddedServerError, match=r"does not run on this machine: .*libcrypto\.so\.3"):
        open_embedded(place.folder, mongod=broken)


def test_a_mongod_that_is_too_old(place, tmp_path):
    old = tmp_path / "mongod"
    old.write_text("#!/bin/sh\necho 'db version v4.4.1'\n")
    old.chmod(0o755)
    with pytest.raises(EmbeddedServerError, match=r"is version 4\.4\.1, and 6\.0 is the oldest"):
        open_embedded(place.folder, mongod=old)


def test_the_extras_mongod_is_given_the_right_to_run(tmp_path):
    wheel = tmp_path / "mongod"
    wheel.write_bytes(wheel_mongod().read_bytes())
    wheel.chmod(0o644)
    assert find_mongod(None, tmp_path / "bin", wheel=wheel).path == wheel
    assert stat.S_IMODE(wheel.stat().st_mode) & 0o111


@root
def test_a_read_only_mongod_without_the_right_to_run_is_copied(tmp_path):
    mount = tmp_path / "site"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", mount], check=True)
    try:
        (mount / "mongod").write_bytes(wheel_mongod().read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        found = find_mongod(None, tmp_path / "bin", wheel=mount / "mongod")
    finally:
        subprocess.run(["umount", mount], check=True)
    assert found.path == tmp_path / "bin" / "mongod"


def test_data_of_another_version(place):
    used_once(place)
    change_state(place, version="7.0.2", mongod="/opt/mongod-7")
    with pytest.raises(EmbeddedServerError, match=r"made by MongoDB 7\.0\.2 \(/opt/mongod-7\).* is 6\.0\.") as error:
        open_embedded(place.folder)
    assert "NEMESYST_MONGOD" in error.value.remedy


def test_a_taken_port_is_named_with_its_holder_and_the_remedy_works(place):
    used_once(place)
    port = place.state().port
    with other_program(port):
        with pytest.raises(EmbeddedServerError, match=rf"port {port} .* process {os.getpid()} \(") as error:
            open_embedded(place.folder)
        new = int(error.value.remedy.split("--port ")[1])
        with open_embedded(place.folder, port=new) as server, client(server) as mongo:
            assert mongo.data.rows.count_documents({}) == 1


def test_another_port_while_it_runs(shared):
    with pytest.raises(EmbeddedServerError, match="already, not on 1234"):
        open_embedded(shared.home, port=1234)


def test_a_damaged_state_file_is_told_and_the_remedy_works(place):
    used_once(place)
    place.state_file.write_text("{")
    with pytest.raises(EmbeddedServerError, match=r"server\.json.* is damaged"):
        open_embedded(place.folder)
    place.state_file.unlink()
    with open_embedded(place.folder) as server, client(server) as mongo:
        assert mongo.data.rows.count_documents({}) == 1


def test_a_missing_secret(place):
    used_once(place)
    place.secret_file.unlink()
    with pytest.raises(EmbeddedServerError, match="is missing, but its data is there"):
        open_embedded(place.folder)


def test_another_secret(place):
    used_once(place)
    place.secret_file.write_text("guess")
    with pytest.raises(EmbeddedServerError, match="does not accept the password in"):
        open_embedded(place.folder)


def test_data_that_is_moved_away_leaves_an_empty_database(place):
    used_once(place)
    place.db.rename(place.folder / "old")
    with open_embedded(place.folder) as server, client(server) as mongo:
        assert mongo.data.rows.count_documents({}) == 0


def test_data_that_another_mongod_uses(place):
    used_once(place)
    command = [wheel_mongod(), "--dbpath", place.db, "--port", "0", "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert any(b"Waiting for connections" in line for line in other.stdout)
        try:
            with pytest.raises(EmbeddedServerError, match=rf"in use by another mongod \(process {other.pid}"):
                open_embedded(place.folder)
        finally:
            other.kill()


@root
def test_a_server_in_another_network_namespace(shared):
    script = "from nemesyst.database.embedded import *; from pathlib import Path; import sys; open_embedded(Path(sys.argv[1]))"
    command = ["unshare", "-n", sys.executable, "-c", script, shared.home]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"runs elsewhere: on host {socket.gethostname()}" in done.stderr
    assert "--home" in done.stderr


@root
def test_a_full_disk(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", mount], check=True)
    try:
        with pytest.raises(DiskFullError, match=rf"{mount}/home is full: 10\d MB are free, 300 MB are needed"):
            open_embedded(mount / "home")
    finally:
        subprocess.run(["umount", mount], check=True)


@root
def test_a_folder_on_a_read_only_file_system(tmp_path):
    mount = tmp_path / "still"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", mount], check=True)
    try:
        with pytest.raises(EmbeddedServerError, match=rf"{mount}/home, cannot be used: Read-only file system"):
            open_embedded(mount / "home")
    finally:
        subprocess.run(["umount", mount], check=True)


@root
def test_a_folder_of_another_user(place):
    place.folder.mkdir(mode=0o755)
    script = "from nemesyst.database.embedded import home; from pathlib import Path; import os, sys; os.setuid(65534); home.Home(Path(sys.argv[1])).prepare()"
    place.folder.parent.chmod(0o755)
    for folder in place.folder.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", script, place.folder], capture_output=True, text=True, check=False)
    assert "cannot be used: this user cannot write there" in done.stderr


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="cannot be used: File exists"):
        open_embedded(tmp_path / "file")


def test_a_network_file_system():
    with pytest.raises(EmbeddedServerError, match=r"network file system \(nfs4\)") as error:
        Home(Path("/mnt/my share/project/.nemesyst")).prepare(NFS)
    assert "NEMESYST_HOME" in error.value.remedy


@pytest.mark.parametrize(
    ("folder", "kind"), [("/mnt/my share", "nfs4"), ("/mnt/my share 2", "ext4"), ("/", "ext4"), ("/mnt", "ext4")]
)
def test_the_file_system_of_a_folder(folder, kind):
    assert file_system(Path(folder), NFS) == kind


def test_a_later_mount_hides_an_earlier_one():
    over = NFS + "32 31 0:42 / /mnt/my\\040share rw - tmpfs none rw\n"
    assert file_system(Path("/mnt/my share/x"), over) == "tmpfs"
