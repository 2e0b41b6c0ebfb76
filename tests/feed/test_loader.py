"""Reading ahead: in order, a few at a time, and over as soon as nobody asks for more."""

from __future__ import annotations

import threading

import pytest

from nemesyst.database import RateLimit, Stopper
from nemesyst.database.cutoff.patience import Patience
from nemesyst.database.stopping import StoppedError, check, current, regardless
from nemesyst.errors import UnreachableError
from nemesyst.feed.loader import read_ahead

pytestmark = pytest.mark.core


def reading():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nemesyst")]


def test_tables_come_in_order_and_no_more_than_there_is_room_for_are_taken():
    taken = []

    def numbers():
        for number in range(20):
            taken.append(number)
            yield number

    tables = read_ahead(lambda number: number, numbers(), room=3)
    assert next(tables) == 0
    assert taken == [0, 1, 2]
    assert list(tables) == list(range(1, 20))
    assert not reading()


def test_an_error_comes_where_its_table_would_have_come():
    def load(number):
        return 10 // (3 - number)

    tables = read_ahead(load, range(6), room=4)
    assert [next(tables) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(tables)
    assert not reading()


@pytest.mark.timeout(30)
def test_what_is_done_beside_ends_with_the_readers_and_its_errors_are_theirs_to_find():
    begun = threading.Event()

    def wait():
        begun.set()
        RateLimit(1).wait(1000)

    tables = read_ahead(lambda number: number, range(5), room=2, beside=wait)
    assert next(tables) == 0
    begun.wait()
    tables.close()
    assert not reading()
    assert list(read_ahead(lambda number: number, range(5), room=2, beside=lambda: 1 / 0)) == list(range(5))


@pytest.mark.timeout(30)
def test_a_reader_that_waits_ends_when_nobody_asks_for_more():
    limit = RateLimit(1)

    def load(number):
        if number:
            limit.wait(1000)
        return number

    tables = read_ahead(load, range(10), room=3)
    assert next(tables) == 0
    tables.close()
    assert not reading()


@pytest.mark.timeout(30)
def test_what_a_server_takes_long_for_is_broken_off_and_what_was_left_is_closed():
    begun, broken, told = threading.Event(), threading.Event(), []

    def load(number):
        if number:
            with current().reading(broken.set):
                begun.set()
                broken.wait()
        current().leave(told, lambda: told.append("closed"))
        return number

    tables = read_ahead(load, range(2), room=2)
    assert next(tables) == 0
    begun.wait()
    tables.close()
    assert broken.is_set()
    assert told == ["closed"]
    assert not reading()


@pytest.mark.timeout(30)
def test_a_reader_that_cannot_be_ended_is_not_waited_for():
    release = threading.Event()

    def load(number):
        if number:
            release.wait()
        return number

    tables = read_ahead(load, range(3), room=2)
    assert next(tables) == 0
    tables.close()
    release.set()
    for thread in reading():
        thread.join()


def test_whoever_waits_for_a_server_is_ended():
    stopper = Stopper()
    patience = Patience("reading", 1000)
    with stopper.here():
        patience.wait(UnreachableError("it is away"))
        stopper.stop()
        with pytest.raises(StoppedError):
            patience.wait(UnreachableError("it is away"))
        with pytest.raises(StoppedError):
            check()
        with regardless():
            check()  # what has to be tidied up is
    check()
