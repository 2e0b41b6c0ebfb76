"""Waiting for several things at once."""

from __future__ import annotations

import threading

import pytest

from nemesyst.feed.together import together

pytestmark = pytest.mark.core


@pytest.mark.timeout(30)
def test_each_runs_while_the_others_wait_and_none_is_left():
    barrier = threading.Barrier(3)
    waits = [lambda number=number: (barrier.wait(), number)[1] for number in range(3)]
    assert together(*waits) == [0, 1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nemesyst")]


def test_the_first_error_is_raised_when_all_have_ended():
    done = []

    def fail(name):
        raise ValueError(name)

    with pytest.raises(ValueError, match="one"):
        together(lambda: fail("one"), lambda: fail("two"), lambda: done.append(1))
    assert done == [1]
