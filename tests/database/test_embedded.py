"""The embedded server: shared by all who ask, gone after the last, back after every kill."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from nemesyst.database.embedded import open_embedded, pin, status, stop
from nemesyst.database.embedded.locks import SHARED, try_lock

from .conftest import PATIENCE, client, gone, kill

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_twelve_processes_at_once_share_one_server(place, user):
    users = [user(place.folder) for _ in range(12)]
    addresses = {process.stdout.readline() for process in users}
    assert len(addresses) == 1
    assert place.supervisor_log.read_text().count("is writable") == 1
    assert set(status(place.folder).users) == {process.pid for process in users}


@pytest.mark.slow
def test_the_server_goes_when_its_last_user_is_killed(place, user):
    users = [user(place.folder) for _ in range(2)]
    for process in users:
        assert process.stdout.readline()
    for process in users:
        process.kill()
    assert gone(place)


def test_the_server_stays_while_one_user_is_left(place, user):
    first, second = user(place.folder), user(place.folder)
    assert first.stdout.readline() == second.stdout.readline()
    first.kill()
    first.wait()
    with open_embedded(place.folder) as server:
        assert set(status(place.folder).users) == {second.pid, os.getpid()}
        assert client(server).admin.command("hello")["isWritablePrimary"]


def test_after_a_kill_of_mongod_users_go_on_and_nothing_acknowledged_is_lost(place):
    with open_embedded(place.folder) as server, client(server) as mongo:
        for n in range(3):
            mongo.data.rows.insert_one({"_id": n})
            with open_embedded(place.folder) as again:  # waits for the server that was started again
                assert again.uri == server.uri
                kill(status(place.folder).pid)
            assert mongo.data.rows.distinct("_id") == list(range(n + 1))


def test_after_a_kill_of_the_supervisor_mongod_is_gone_and_the_next_open_works(place):
    with open_embedded(place.folder) as server, client(server) as mongo:
        mongo.data.rows.insert_one({"_id": 1})
        before = status(place.folder)
        kill(before.supervisor)
        with open_embedded(place.folder) as again, client(again) as other:
            assert other.data.rows.count_documents({}) == 1
        after = status(place.folder)
    assert after.pid != before.pid
    assert after.port == before.port


@pytest.mark.slow
def test_a_mongod_that_keeps_ending_by_itself_is_given_up(place):
    with open_embedded(place.folder):
        ended = set()
        while len(ended) < 3:
            open_embedded(place.folder).close()  # waits while the server is started again
            if (pid := status(place.folder).pid) not in ended:
                os.kill(pid, signal.SIGABRT)
                ended.add(pid)
        assert gone(place)
        assert "gave up: the embedded server ended" in place.supervisor_log.read_text()
        with open_embedded(place.folder) as again:
            assert client(again).admin.command("ping")["ok"]


@pytest.mark.slow
def test_a_start_that_is_killed_half_way_is_finished_by_the_next(place, user):
    for _ in range(3):
        process = user(place.folder)
        while not status(place.folder).running:
            assert process.poll() is None
        kill(process.pid)
        with place.usable():
            for supervisor in _supervisors(place):
                kill(supervisor)
    with open_embedded(place.folder) as server:
        assert client(server).data.rows.insert_one({}).acknowledged


def _supervisors(place):
    psutil = pytest.importorskip("psutil")
    running = (process.info for process in psutil.process_iter(["pid", "cmdline"]))
    lines = {process["pid"]: " ".join(process["cmdline"] or ()) for process in running}
    return [pid for pid, line in lines.items() if "supervisor" in line and str(place.folder) in line]


@pytest.mark.slow
def test_a_pinned_server_stays_without_users_until_stop(place, monkeypatch):
    monkeypatch.setenv("NEMESYST_EMBEDDED_LINGER", "0")
    pinned = pin(place.folder)
    descriptor = try_lock(place.users_lock, 2)  # exclusive: there is no user
    while descriptor is None:  # unless the supervisor is just asking the same
        descriptor = try_lock(place.users_lock, 2)
    os.close(descriptor)
    with open_embedded(place.folder):
        assert status(place.folder).pid == pinned.pid
    assert not stop(place.folder).running
    assert gone(place)
    assert not place.pinned.exists()


@pytest.mark.slow
def test_stop_leaves_a_server_with_users_and_names_them(place, user):
    process = user(place.folder)
    assert process.stdout.readline()
    pin(place.folder)
    left = stop(place.folder)
    assert left.running
    assert left.users == (process.pid,)
    assert not left.pinned
    process.kill()
    assert gone(place)


@pytest.mark.slow
def test_stop_by_force_does_not_wait_for_users(place):
    with open_embedded(place.folder):
        assert not stop(place.folder, force=True).running
        with open_embedded(place.folder) as again:
            assert client(again).admin.command("ping")["ok"]


def test_stop_without_a_server_does_nothing(place):
    assert not stop(place.folder).running
    assert not place.folder.exists()


@pytest.mark.slow
def test_the_port_stays(place):
    ports = set()
    for _ in range(2):
        with open_embedded(place.folder) as server:
            ports.add(server.uri)
        stop(place.folder)
    assert len(ports) == 1


@pytest.mark.slow
def test_a_new_port_is_taken_for_good_and_keeps_the_data(place):
    with open_embedded(place.folder) as server, client(server) as mongo:
        mongo.data.rows.insert_one({"_id": 1})
    old = stop(place.folder).port
    new = old + 1
    with open_embedded(place.folder, port=new) as server, client(server) as mongo:
        mongo.data.rows.insert_one({"_id": 2})
        assert f":{new}/" in server.uri
    stop(place.folder)
    with open_embedded(place.folder) as server, client(server) as mongo:
        assert f":{new}/" in server.uri
        assert mongo.data.rows.count_documents({}) == 2


def test_the_secret_is_for_this_user_alone(shared):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.home.iterdir()}
    assert stat.S_IMODE(shared.home.stat().st_mode) == modes["db"] == 0o700
    assert modes["secret"] == modes["keyfile"] == modes["server.json"] == modes["mongod.log"] == 0o600


def test_the_secret_is_in_no_command_line_log_or_repr(shared):
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert any(b"mongod" in line for line in lines)
    logs = [path.read_bytes() for path in shared.home.glob("*.log")] + [(shared.home / "server.json").read_bytes()]
    assert not any(shared.password.encode() in text for text in lines + logs)
    assert shared.password not in repr(shared)


def _readable(path):
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def test_without_the_secret_nothing_is_read(shared):
    with client(shared) as mongo:
        mongo.data.rows.insert_one({})
    shared_uri = type(shared)(shared.home, shared.uri, "guess", None)
    with pytest.raises(OperationFailure, match="Authentication failed"), client(shared_uri) as mongo:
        mongo.data.rows.find_one()


def test_zlib_is_off_and_the_server_listens_on_loopback_alone(shared):
    with client(shared) as mongo:
        options = mongo.admin.command("getCmdLineOpts")["parsed"]["net"]
    assert options["compression"]["compressors"] == "snappy,zstd"
    assert options["bindIp"] == "127.0.0.1"


@pytest.mark.slow
def test_a_forked_child_keeps_the_server_of_its_parent(place):
    server = open_embedded(place.folder)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reader)
    server.close()
    descriptor = try_lock(place.users_lock, 2)
    os.close(writer)
    os.waitpid(child, 0)
    assert descriptor is None
    assert gone(place)


def test_a_child_forked_during_a_start_does_not_hold_it_up(place):
    started = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(lambda: (started.set(), open_embedded(place.folder))[1])
        started.wait()
        while not status(place.folder).running:
            pass
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        with opening.result(PATIENCE), open_embedded(place.folder) as second:
            assert second.uri
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


@pytest.mark.slow
def test_threads_share_the_server(place):
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(lambda _: open_embedded(place.folder), range(8)))
    assert len({handle.uri for handle in handles}) == 1
    for handle in handles[1:]:
        handle.close()
        handle.close()  # a second time does nothing
    assert try_lock(place.users_lock, 2) is None
    handles[0].close()
    assert gone(place)


@pytest.mark.slow
def test_a_deleted_folder_is_made_anew(place):
    with open_embedded(place.folder):
        subprocess.run(["rm", "-rf", place.folder], check=True)
        with open_embedded(place.folder) as again, client(again) as mongo:
            assert mongo.data.rows.insert_one({}).acknowledged
            descriptor = try_lock(place.users_lock, SHARED)
            os.close(descriptor)


def test_a_user_at_the_end_of_a_pipe_does_not_hang_it(place):
    script = "from nemesyst.database.embedded import *; from pathlib import Path; import sys; open_embedded(Path(sys.argv[1]))"
    line = f"{sys.executable} -c '{script}' {place.folder} | cat"
    assert subprocess.run(["sh", "-c", line], timeout=PATIENCE, check=False).returncode == 0


def test_the_folder_is_ignored_by_git(shared):
    assert (shared.home / ".gitignore").read_text() == "*\n"


def test_a_folder_with_other_files_keeps_its_rights(place):
    place.folder.mkdir(mode=0o755)
    (place.folder / "mine.txt").touch()
    place.prepare()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o755
    assert not (place.folder / ".gitignore").exists()
