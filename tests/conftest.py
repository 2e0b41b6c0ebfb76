"""Real servers for the tests: each worker has an embedded one, each test databases of its own."""

from __future__ import annotations

import os
import shutil
import signal
import uuid

import pytest
from pymongo import WriteConcern

import nemesyst as nm
from nemesyst.database.embedded import stop

from .keras_hosts import Hosts
from .memory import folder_in_memory

# A suite that runs in the background has Ctrl-C ignored, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # but after the order became random: that is done around this hook
def pytest_collection_modifyitems(config, items):
    """With ``--dist loadgroup``: one worker has a module's own servers, and what takes long begins first."""
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        shared = any(each[-1].scope == "module" and each[-1].baseid for each in fixtures)
        if shared and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Folder of this worker's embedded server; both go when the worker ends."""
    home = folder_in_memory(tmp_path_factory.mktemp("server") / "home")
    yield home
    stop(home, force=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server(home):
    """A hub that keeps this worker's server up."""
    with nm.connect(home=home) as hub:
        yield hub


@pytest.fixture
def names():
    """Names of a database and a state database that no other test uses."""
    mark = uuid.uuid4().hex[:8]
    return {"database": f"data_{mark}", "state": f"state_{mark}"}


@pytest.fixture
def hub(server, home, names):
    """A hub with empty databases."""
    with nm.connect(home=home, **names) as hub:
        yield hub
        drop(hub.db)
        drop(hub.state)


def drop(database):
    """Drop a database collection by collection: one that holds any waits 0.1 s for the next flush of the journal."""
    database = database.with_options(write_concern=WriteConcern(w=1, j=False))
    for collection in database.list_collection_names(filter={"name": {"$not": {"$regex": "^system[.]"}}}):
        database.drop_collection(collection)
    database.client.drop_database(database.name)


@pytest.fixture(scope="session")
def keras_hosts(tmp_path_factory):
    """The processes of Keras; tests that use them are of the group ``keras``, so that one worker has them."""
    hosts = Hosts(tmp_path_factory.mktemp("keras"))
    yield hosts
    hosts.close()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Keep the developer's own settings out of the tests."""
    for name in list(os.environ):
        if name.startswith("NEMESYST_") and name not in ("NEMESYST_DATA", "NEMESYST_MONGOD"):
            monkeypatch.delenv(name)
