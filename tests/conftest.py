"""Real servers for the tests: each worker has an embedded one, each test databases of its own."""

from __future__ import annotations

import os
import signal
import uuid

import pytest

import nemesyst as nm

# A suite that runs in the background has Ctrl-C ignored, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Folder of this worker's embedded server; the server goes when the worker ends."""
    return tmp_path_factory.mktemp("home")


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
        hub.db.client.drop_database(names["database"])
        hub.db.client.drop_database(names["state"])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Keep the developer's own settings out of the tests."""
    for name in list(os.environ):
        if name.startswith("NEMESYST_") and name not in ("NEMESYST_DATA", "NEMESYST_MONGOD"):
            monkeypatch.delenv(name)
