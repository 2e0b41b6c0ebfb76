"""Embedded servers of their own for each test of them; cutoffs of a database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from pymongo import MongoClient

from nemesyst.database.cutoff import Cutoff, present_time
from nemesyst.database.embedded import open_embedded, status, stop
from nemesyst.database.embedded.home import Home
from nemesyst.database.embedded.locks import EXCLUSIVE, lock_within
from nemesyst.errors import DatabaseError

from ..memory import folder_in_memory  # noqa: TID252 - the tests are no package that has a name
from .cutoffs import WAYS

PATIENCE = 40  # s; a limit, never waited for


@pytest.fixture
def place(tmp_path):
    """The folder of a server that does not run yet; the server goes after the test."""
    within = folder_in_memory(tmp_path / "within")
    place = Home(within / "home")
    yield place
    with suppress(Exception):
        stop(place.folder, force=True)
    shutil.rmtree(within, ignore_errors=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server that the tests of a module share."""
    with open_embedded(tmp_path_factory.mktemp("shared") / "home") as server:
        yield server


@pytest.fixture
def user():
    """Start processes that use a server until they are killed: ``user(folder)`` returns when it is connected."""
    script = (
        "import sys; from pathlib import Path; from nemesyst.database.embedded import open_embedded;"
        "server = open_embedded(Path(sys.argv[1])); print(server.uri, flush=True); sys.stdin.read()"
    )
    running = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def now(hub):
    """The server's time; later than every stamp, also one that is not committed yet."""
    return lambda: present_time(hub._connection, hub.db.name, fresh=True)


@pytest.fixture
def cutoff(hub):
    """Make cutoffs; ``way``: the ways before it are over, as if the server's history were."""
    made = []

    def make(time, way="history", collection="rows", **options):
        cutoff = Cutoff(hub._connection, hub.db.name, collection, time, **options)
        made.append(cutoff)
        if way == "stamp":
            cutoff.catch_up()
        assert cutoff.way
        for before in WAYS[: WAYS.index(way)]:
            cutoff.give_up(before, DatabaseError("over"))
        return cutoff

    yield make
    for cutoff in made:
        cutoff.close()


def client(server):
    """A client as the server's user."""
    return MongoClient(server.uri, username=server.username, password=server.password, w="majority", journal=True)


def kill(process):
    """Kill -9."""
    os.kill(process, signal.SIGKILL)


def gone(place):
    """Wait until neither supervisor nor mongod is left; whether that came to pass."""
    descriptor = lock_within(place.data_lock, EXCLUSIVE, PATIENCE)
    if descriptor is None:
        return False
    os.close(descriptor)
    return not status(place.folder).running
