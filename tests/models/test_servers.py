"""A server that is killed while models are saved."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from nemesyst.database import Connection
from nemesyst.errors import DatabaseError
from nemesyst.models import Models

from ..database.servers import (  # noqa: TID252 - the tests are no package that has a name
    Node,
    ReplicaSet,
    running,
    until,
)
from .savers import given_up


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path / "node", "--replSet", "rs")
    with running(node):
        ReplicaSet(node)
        yield node


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(3))
def test_a_server_that_is_killed_during_a_save_has_the_old_versions_or_the_new_one(node, moment):
    connection = Connection(f"mongodb://{node.host}/?replicaSet=rs", timeout=30)
    models = Models(connection, "state")
    saved, failed = [], []

    def save():
        for n in range(6):
            try:
                saved.append(models.save({"w": np.full(600_000, n, np.float64)}, "air", args={"n": n}).number)
            except DatabaseError as error:
                failed.append(error)

    thread = threading.Thread(target=save)
    with connection.client["state"].watch() as changes:
        thread.start()
        for _ in range(5 + 17 * moment):
            next(changes)
    node.kill()
    node.start()
    thread.join()
    until(node.leads)
    versions = models.list("air")
    assert set(saved) <= {version.number for version in versions}
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert all((models.load(version.ref)["w"] == version.args["n"]).all() for version in versions)
    given_up(connection.client["state"])
    models.gc(older_than=0, plans=None)
    held = {blob for version in connection.client["state"].versions.find() for blob in version["blobs"]}
    assert set(connection.client["state"].blobs.distinct("_id")) == held
    assert models.save({"w": np.zeros(3)}, "air").number == len(versions) + 1
    connection.close()
