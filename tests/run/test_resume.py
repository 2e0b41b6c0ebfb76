"""Trainings whose process is killed, and that end with the weights of one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("torch", reason="needs the torch extra")
PROGRAM = Path(__file__).with_name("resume_program.py")
STEPS = 4 * 30


@pytest.fixture
def train(hub, home, names):
    """Run the program; the step that it went on from."""
    values = np.random.default_rng(0).normal(size=(600, 2))
    hub.put("rows", [{"i": n, "a": a, "b": b, "y": a - b} for n, (a, b) in enumerate(values)], key="i")

    def run(resume=True, kill=0):
        command = [sys.executable, PROGRAM, home, names["database"], names["state"], int(resume), kill]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
        return int(done.stdout.split("from step ")[1].split()[0])

    return run


def weights(hub, ref):
    return hub.models.get(ref).digest


def killed_at(train, hub, steps):
    """Train, killed at each of these steps, then to the end; the steps that it went on from."""
    begun = [train(resume=number > 0, kill=step) for number, step in enumerate(steps)]
    begun.append(train())
    assert hub.state.runs.count_documents({"status": "done"}) == 1
    assert hub.state.checkpoints.count_documents({}) == 0
    return begun


def test_a_training_that_is_killed_at_random_steps_ends_with_the_same_weights(train, hub):
    train(resume=False)
    hub.state.runs.delete_many({})
    steps = sorted(random.Random(1).sample(range(2, STEPS), 3))
    begun = killed_at(train, hub, steps)
    assert begun[0] == 0
    assert all(0 < first <= step for first, step in zip(begun[1:], steps, strict=True))
    assert weights(hub, "net@2") == weights(hub, "net@1")
    assert [version.number for version in hub.models.list("net")] == [1, 2]


@pytest.mark.soak
def test_twenty_kills(train, hub):
    train(resume=False)
    hub.state.runs.delete_many({})
    killed_at(train, hub, sorted(random.Random(2).sample(range(2, STEPS), 20)))
    assert weights(hub, "net@2") == weights(hub, "net@1")
