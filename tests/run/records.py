"""What the tests of records share: runs in this process, and a way to wait for what a thread writes."""

from __future__ import annotations

import time
from contextlib import contextmanager

from nemesyst.run import Work, recorded
from nemesyst.stages import Alone

PATIENCE = 60  # s; a limit, never waited for


def work(**changes):
    """Work of a learner."""
    return Work(**{"script": "/scripts/train.py", "function": "learn", "stage": "learn", "model": "air", **changes})


@contextmanager
def running(hub, resume=False, send=None, **changes):
    """A run of this process."""
    with recorded(hub, work(**changes), Alone(), resume=resume, send=send) as recorder:
        yield recorder


def finished(hub, **changes):
    """The record of a run that did nothing."""
    with running(hub, **changes) as recorder:
        pass
    return hub.runs.get(recorder.run)


def until(holds):
    """What is found to hold at last; asks again and again."""
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
    return found
