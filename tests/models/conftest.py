"""A registry in a state database of its own, and how another process opens the same one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nemesyst.database import NodeCache


@pytest.fixture
def models(hub):
    """The registry; what other tests loaded is not kept on this node: equal contents would be found there."""
    NodeCache.of(hub.settings).clear()
    return hub.models


@pytest.fixture
def state(hub):
    """The state database, to look and to meddle."""
    return hub.state


@pytest.fixture
def elsewhere(hub, home, names):
    """Start code in a process of its own, with ``models`` and ``np`` there."""
    started = []

    def start(code, *arguments):
        opened = f"import nemesyst as nm\nhub = nm.connect(home={str(home)!r}, **{names!r})\nmodels = hub.models\n"
        text = "import sys\nimport numpy as np\n" + opened + code
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    # the server keeps a killed process's open transaction for up to 90 s, and with it the database from being dropped
    hub.db.client.admin.command("killAllSessions", [])


@pytest.fixture
def weights():
    """A dict of arrays that fits into a record."""
    return {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.int64)}


@pytest.fixture
def large():
    """A dict of arrays that needs a blob of several calls: 10 MB."""
    return {"w": np.random.default_rng(0).standard_normal(1_250_000)}
