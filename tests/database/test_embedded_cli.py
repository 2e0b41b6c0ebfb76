"""``nemesyst db``, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nemesyst.cli.db import _with
from nemesyst.database.embedded import open_embedded

from .conftest import PATIENCE, gone

pytestmark = pytest.mark.slow


@pytest.fixture
def db(place):
    """Run ``nemesyst db`` on the test's folder: ``db("start", "--json")``."""

    def run(*words, **environment):
        code = "from nemesyst.cli.db import app; from nemesyst.cli.main import fail; from nemesyst.errors import NemesystError\ntry: app()\nexcept NemesystError as error: fail(error, as_json=False)"
        return subprocess.run(
            [sys.executable, "-c", code, *words, "--home", place.folder],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=os.environ | environment,
        )

    return run


def test_start_tells_how_to_connect_and_stop_ends_it(db, place):
    said = db("start").stdout
    assert "mongodb://127.0.0.1:" in said
    assert str(place.secret_file) in said
    assert place.secret() not in said
    assert "has stopped" in db("stop").stdout
    assert gone(place)
    assert "does not run" in db("stop").stdout


def test_status_as_json(db, place):
    assert json.loads(db("status", "--json").stdout)["running"] is False
    with open_embedded(place.folder):
        found = json.loads(db("status", "--json").stdout)
    assert found["running"]
    assert found["users"] == [os.getpid()]
    assert found["version"].startswith("6.0.")
    assert found["size"] > 1_000_000
    assert not found["pinned"]


def test_stop_names_the_users_and_force_stops_at_once(db, place):
    with open_embedded(place.folder):
        assert f"used by process {os.getpid()}" in db("stop").stdout
        assert "has stopped" in db("stop", "--force").stdout


def test_start_on_a_port_of_choice(db, place):
    first = json.loads(db("start", "--json").stdout)
    again = db("start", "--port", str(first["port"] + 1))
    assert again.returncode == 1
    assert "nemesyst db stop" in again.stderr
    db("stop")
    assert json.loads(db("start", "--json", "--port", str(first["port"] + 1)).stdout)["port"] == first["port"] + 1
    assert place.pinned.exists()


def test_a_missing_mongod_is_one_clear_message(db):
    done = db("start", NEMESYST_MONGOD="/nowhere/mongod")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no mongod at /nowhere/mongod")
    assert "Traceback" not in done.stderr


def test_shell_hands_mongosh_the_password_by_environment(db, place, tmp_path):
    fake = tmp_path / "bin" / "mongosh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"\necho "$NEMESYST_SHELL_ADDRESS $NEMESYST_SHELL_DATABASE"\n')
    fake.chmod(0o755)
    words, environment = db("shell", PATH=f"{fake.parent}:{os.environ['PATH']}").stdout.splitlines()
    assert place.secret() not in words
    assert (
        environment == f"mongodb://nemesyst:{place.secret()}@127.0.0.1:{place.state().port}/?replicaSet=nemesyst data"
    )


def test_credentials_and_options_go_into_an_address():
    given = "mongodb+srv://cluster.example/?retryWrites=true"
    assert (
        _with(given, "a b", "p/w", {"tls": True})
        == "mongodb+srv://a%20b:p%2Fw@cluster.example/?retryWrites=true&tls=true"
    )
