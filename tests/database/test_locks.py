"""Locks of files that a forked child must not keep."""

from __future__ import annotations

import os
import threading

import pytest

from nemesyst.database.embedded import locks
from nemesyst.descriptors import passed, passing
from nemesyst.feed.cache import locks as cache_locks

pytestmark = pytest.mark.core


@pytest.fixture
def path(tmp_path):
    (tmp_path / "lock").touch()
    return tmp_path / "lock"


@pytest.fixture
def child():
    """Fork a child that does nothing until the test is over."""
    ends = []

    def fork():
        (reader, writer), (ready, up) = os.pipe(), os.pipe()
        number = os.fork()
        if number == 0:
            os.close(writer)
            os.write(up, b"!")
            os.read(reader, 1)  # until the parent closes its end
            os._exit(0)
        os.read(ready, 1)  # what runs in a child after a fork has run
        for descriptor in (reader, ready, up):
            os.close(descriptor)
        ends.append((number, writer))

    yield fork
    for number, writer in ends:
        os.close(writer)
        os.waitpid(number, 0)


def is_free(path):
    descriptor = locks.try_lock(path, locks.EXCLUSIVE)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def of_embedded(path):
    return locks.briefly(path)


def of_cache(path):
    return cache_locks.briefly(lambda: os.open(path, os.O_RDWR), seconds=1)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_that_is_forked_as_a_lock_is_opened_does_not_keep_it(path, child):
    opened, go_on = threading.Event(), threading.Event()

    def slowly():
        descriptor = os.open(path, os.O_RDWR)
        opened.set()
        go_on.wait(1)  # the fork waits for this
        return (descriptor,)

    def hold():
        (descriptor,) = passed(slowly)
        with passing(descriptor):
            locks.fcntl.flock(descriptor, locks.EXCLUSIVE)

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait()
    child()
    go_on.set()
    thread.join()
    assert is_free(path)


@pytest.mark.parametrize("briefly", [of_embedded, of_cache])
def test_a_child_that_is_forked_while_a_lock_is_held_does_not_keep_it(path, child, briefly):
    with briefly(path):
        child()
        assert not is_free(path)
    assert is_free(path)


def test_asking_whether_a_lock_is_held_leaves_it_free(path, child):
    assert not locks.is_held(path)
    with locks.briefly(path):
        assert locks.is_held(path)
        child()
    assert not locks.is_held(path)
    assert is_free(path)
