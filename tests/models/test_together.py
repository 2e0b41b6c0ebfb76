"""Several writers at once, and writers that die: no lost version, no half-written one, a linear history."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest


def test_savers_in_threads_get_different_numbers(models, weights):
    threads = [threading.Thread(target=lambda: [models.save(weights, "air") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.number for version in models.list("air")] == list(range(1, 41))


BUSY = """
seed = int(sys.argv[1])
random = np.random.default_rng(seed)
for n in range(12):
    version = models.save({"w": np.full(3, 1000 * seed + n)}, "air", args={"w": 1000 * seed + n})
    models.promote(version.ref, "champion", why=f"{seed}.{n}")
    models.promote("air@latest", "champion")
    if random.random() < 0.5:
        try: models.rollback("air@champion")
        except Exception as error:
            if "meant nothing before" not in str(error): raise
    loaded = models.get("air@champion")
    assert models.load(loaded.ref)["w"][0] == loaded.args["w"]
    print(version.number)
"""


@pytest.mark.slow
def test_processes_that_save_promote_and_roll_back_the_same_name_lose_nothing(models, elsewhere):
    outputs = [process.communicate() for process in [elsewhere(BUSY, seed) for seed in range(4)]]
    assert [error for _, error in outputs] == [""] * 4
    numbers = sorted(int(line) for output, _ in outputs for line in output.split())
    assert numbers == [version.number for version in models.list("air")] == list(range(1, 49))
    history = models.history("air@champion")
    assert [move.number for move in history] == list(range(1, len(history) + 1))
    assert all(before.target == after.source for before, after in pairwise(history))
    assert history[-1].target == models.get("air@champion").number


SAVER = """
n = 0
while True:
    n += 1
    models.save({"w": np.full(400_000, n, np.float64)}, "air", args={"n": n})
    models.promote("air@latest", "champion")
    print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
def test_a_saver_that_is_killed_leaves_complete_versions_alone(models, state, elsewhere, moment):
    saver = elsewhere(SAVER)
    saver.stdout.readline()
    _wait_for_writes(state, 1 + moment * 7)
    saver.kill()
    saver.wait()
    versions = models.list("air")
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert all((models.load(version.ref)["w"] == version.args["n"]).all() for version in versions)
    assert models.get("air@champion").number in (len(versions), len(versions) - 1)


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
import signal, threading
class Piecewise(dict):
    def items(self):
        signal.raise_signal(signal.SIGINT)
        return super().items()
try: models.save(Piecewise(w=np.zeros(9)), "air")
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
