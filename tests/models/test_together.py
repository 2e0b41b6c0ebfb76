"""Several writers at once, and writers that die: no lost version, no half-written one, a linear history."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

from .savers import given_up


def test_savers_in_threads_get_different_numbers(models, weights):
    threads = [threading.Thread(target=lambda: [models.save(weights, "air") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.number for version in models.list("air")] == list(range(1, 41))


BUSY = """
import time
from nemesyst.errors import ModelError
seed, seconds, rounds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
random, end, n = np.random.default_rng(seed), time.monotonic() + seconds, 0
def tried(text, work, *given, **named):
    try: return work(*given, **named)
    except ModelError as error:
        if not any(part in str(error) for part in text): raise
while n < rounds or time.monotonic() < end:
    n += 1
    value = int(random.integers(6))  # few contents, many versions: blobs are shared, left and taken again
    size = 3 if value < 2 else 40_000
    version = models.save({"w": np.full(size, value, np.float64)}, "air", args={"w": value}, learner={"by": f"{seed}.{n}"})
    print(version.number, flush=True)
    gone = "was deleted by", "has no version"
    tried(gone, models.promote, version.ref, "champion", why=f"{seed}.{n}")
    if random.random() < 0.5:
        tried(["meant nothing before", "no alias"], models.rollback, "air@champion")
    if (loaded := tried([*gone, "no alias"], models.load, "air@champion")) is not None:
        assert (loaded["w"] == loaded["w"][0]).all()
    if random.random() < 0.4:
        old = f"air@{int(random.integers(version.number)) + 1}"
        tried([*gone, "was not deleted"], models.delete, old, aliases=bool(random.random() < 0.1))
    if random.random() < 0.3:
        models.gc(older_than=2.0, plans=None)
"""


def _check_together(models, state, outputs):
    assert [error for _, error in outputs] == [""] * len(outputs)
    numbers = sorted(int(line) for output, _ in outputs for line in output.split())
    assert numbers == list(range(1, len(numbers) + 1))
    left, deleted = models.list("air"), state.tombstones.find()
    assert sorted([version.number for version in left] + [each["number"] for each in deleted]) == numbers
    for version in left:
        assert (models.load(version.ref)["w"] == version.args["w"]).all()
    history = models.history("air@champion")
    assert [move.number for move in history] == list(range(1, len(history) + 1))
    assert all(before.target == after.source for before, after in pairwise(history))
    named = [version.number for version in left if "champion" in version.aliases]
    assert named == [move.target for move in history[-1:] if move.target is not None]
    _check_clean(models, state)


def _check_clean(models, state):
    """After a collection there is nothing but what the versions name, and all of that."""
    given_up(state)
    models.gc(older_than=0, plans=None)
    held = {blob for version in state.versions.find() for blob in version["blobs"]}
    assert set(state.blobs.distinct("_id", {"state": "ready"})) == set(state.blobs.distinct("_id")) == held
    assert set(state["blobs.chunks"].distinct("blob")) == held


@pytest.mark.slow
def test_processes_that_save_promote_roll_back_delete_and_collect_lose_nothing(models, state, elsewhere):
    outputs = [process.communicate() for process in [elsewhere(BUSY, seed, 0, 10) for seed in range(4)]]
    _check_together(models, state, outputs)


@pytest.mark.soak
def test_processes_that_do_so_for_long_lose_nothing(models, state, elsewhere):
    outputs = [process.communicate() for process in [elsewhere(BUSY, seed, 30, 1) for seed in range(4)]]
    _check_together(models, state, outputs)


SAVER = """
n = 0
while True:
    n += 1
    models.save({"w": np.full(400_000, n, np.float64)}, "air", args={"n": n})
    models.promote("air@latest", "champion")
    print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_a_saver_that_is_killed_leaves_complete_versions_and_what_can_be_collected(models, state, elsewhere, moment):
    saver = elsewhere(SAVER)
    saver.stdout.readline()
    _wait_for_writes(state, 1 + moment * 4)
    saver.kill()
    saver.wait()
    versions = models.list("air")
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert all((models.load(version.ref)["w"] == version.args["n"]).all() for version in versions)
    assert models.get("air@champion").number in (len(versions), len(versions) - 1)
    state.client.admin.command("killAllSessions", [])  # the server itself waits for a dead transaction for a minute
    _check_clean(models, state)


def _wait_for_writes(state, count):
    """Return after so many more inserted parts and records: a moment that differs from run to run."""
    with state.watch([{"$match": {"operationType": {"$in": ["insert", "update"]}}}]) as changes:
        for _ in range(count):
            next(changes)


def test_the_next_saver_goes_on_after_a_killed_one(models, elsewhere, weights):
    saver = elsewhere(SAVER)
    saver.stdout.readline()
    saver.kill()
    saver.wait()
    before = len(models.list("air"))
    assert models.save(weights, "air").number == before + 1


INTERRUPTED = """
import os, signal, threading
def interrupt():
    while not hub.state.blobs.count_documents({}): pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try: models.save({"w": np.random.default_rng(0).standard_normal(10_000_000)}, "air")
except KeyboardInterrupt: print("interrupted", models.list())
"""


def test_ctrl_c_during_a_save_leaves_nothing_visible(elsewhere):
    output, error = elsewhere(INTERRUPTED).communicate()
    assert (output.strip(), error) == ("interrupted []", "")


def test_a_reader_sees_the_old_version_or_the_new_one(models, elsewhere):
    saver = elsewhere(SAVER)
    saver.stdout.readline()
    for _ in range(15):
        arrays = models.load("air@champion")
        assert (arrays["w"] == arrays["w"][0]).all()
        assert len(arrays["w"]) == 400_000
    assert saver.poll() is None
    assert isinstance(arrays["w"], np.ndarray)
