"""A disk that gets full while the embedded server runs."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.database.embedded import stop
from nemesyst.database.explain import Explainer, explain, register
from nemesyst.errors import DiskFullError

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@pytest.fixture
def small(tmp_path):
    """A file system of 500 MB, of which mongod takes 300 MB at once."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "none", mount], check=True)
    yield mount
    stop(mount / "home", force=True)
    subprocess.run(["umount", mount], check=True)


def endless():
    """Rows that cannot be compressed."""
    random, n = np.random.default_rng(0), 0
    while True:
        yield {"n": n, "noise": random.bytes(20_000)}
        n += 1


@root
@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("key", ["n", None])
def test_a_disk_that_gets_full_is_told_soon_and_what_was_stored_is_there_when_it_has_room(small, key):
    with nm.connect(home=small / "home") as hub:
        with pytest.raises(DiskFullError, match=rf"put into rows: .* folder {small}/home is full") as error:
            hub.put("rows", endless(), key=key)
        assert "Free some room" in error.value.remedy
        stored = int(re.search(r"(\d+) rows are stored", error.value.message)[1])
    with pytest.raises(DiskFullError, match=r"MB are needed to start|is full"):  # it may still be trying
        nm.connect(home=small / "home")
    subprocess.run(["mount", "-o", "remount,size=2g", small], check=True)
    with nm.connect(home=small / "home") as hub:
        assert hub.db.rows.count_documents({"n": {"$lt": stored}}) == stored > 0
        assert hub.put("rows", [{"n": -1}], key=key).stored == 1


def test_only_the_server_that_an_error_names_is_asked_and_only_while_it_is_used():
    full = DiskFullError("full")
    forget = register(Explainer("127.0.0.1:1", lambda: full))
    assert explain("127.0.0.1:1: connection closed") is full
    assert explain("127.0.0.1:2: connection closed") is None
    assert explain("127.0.0.1:12: connection closed") is None
    forget()
    assert explain("127.0.0.1:1: connection closed") is None
