"""DataLoader workers: forked and spawned, over connections of their own, in the order of one process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("torch", reason="needs the torch extra")

PROGRAM = Path(__file__).parent / "workers_program.py"
ROWS = 42


@pytest.fixture
def read(hub, server):
    """Run the program over 42 rows; what it printed."""
    hub.db["rows"].insert_many([{"i": i} for i in range(ROWS)])
    access = {name: getattr(server._embedded, name) for name in ("uri", "username", "password")}

    def run(**how):
        given = json.dumps({**access, "database": hub.db.name, **how})
        done = subprocess.run([sys.executable, PROGRAM], input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "opened before fork" not in done.stderr
        return json.loads(done.stdout)

    return run


def epoch(number, size=4):
    """The batches of an epoch, as one process reads them."""
    order = np.random.default_rng(number).permutation(ROWS).tolist()
    return [order[start : start + size] for start in range(0, ROWS, size)]


@pytest.mark.parametrize("persistent", [False, True])
def test_forked_workers_yield_each_epoch_in_the_order_of_one_process(read, persistent):
    told = read(start="fork", workers=3, passes=3, persistent=persistent, seeded=False)
    assert told["passes"] == [epoch(0), epoch(1), epoch(2)]
    assert told["plain"] == epoch(3)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "persistent"), [("spawn", True), ("forkserver", False)])
def test_spawned_workers_do_too_and_find_the_way_without_a_pickled_secret(read, start, persistent):
    told = read(start=start, workers=2, passes=2, persistent=persistent, seeded=False)
    assert told["passes"] == [epoch(0), epoch(1)]
    assert told["plain"] == epoch(2)


def test_a_pickle_holds_no_credentials_and_reads_with_those_of_the_settings(read):
    told = read(start="fork", workers=1, passes=1)
    assert not told["secret"]
    assert told["copied"] == epoch(1) + epoch(2)  # read there, then by workers that are forked from there


def test_an_interrupted_epoch_goes_on_in_workers(read):
    assert read(start="fork", workers=2, passes=2, epoch=7)["passes"] == [epoch(7), epoch(8)]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_pass_that_was_only_looked_at_does_not_confuse_the_next_one_of_the_same_seed(read, start):
    told = read(start=start, workers=2, passes=2, peek=True)
    assert told["passes"] == [[epoch(0)[0]], epoch(1), epoch(2)]
    assert told["plain"] == epoch(3)


def test_without_workers_the_epochs_are_the_same(read):
    assert read(start="fork", workers=0, passes=2)["passes"] == [epoch(0), epoch(1)]
