"""Numbers of epochs, agreed between processes."""

import copy
import multiprocessing

import pytest

from nemesyst.frameworks.epochs import Epochs, Pass

pytestmark = pytest.mark.core


def of(worker, *, seed=1, first=1, count=0, workers=3):
    return Pass(seed, first, count, worker, workers)


def test_workers_of_a_pass_get_one_number_whoever_comes_first():
    epochs = Epochs()
    assert [epochs.join(of(worker), 0) for worker in (2, 0, 1)] == [0, 0, 0]
    assert epochs.join(of(1, seed=2), 0) == 1


def test_passes_of_the_same_seed_are_told_apart():
    epochs = Epochs()
    assert [epochs.join(of(worker), 0) for worker in (0, 1)] == [0, 0]  # ended before its third worker began
    assert [epochs.join(of(worker, first=4), 0) for worker in (2, 0, 1)] == [1, 1, 1]


def test_other_processes_that_are_started_in_between_do_not_part_a_pass():
    epochs = Epochs()
    assert [epochs.join(of(worker, first=1 + worker), 0) for worker in range(3)] == [0, 0, 0]


def test_persistent_workers_count_their_passes():
    epochs = Epochs()
    joined = [[epochs.join(of(worker, count=count), 0) for worker in range(3)] for count in range(2)]
    assert joined == [[0, 0, 0], [1, 1, 1]]


def test_a_feed_that_is_farther_on_decides():
    epochs = Epochs()
    assert [epochs.begin(5), epochs.begin(0), epochs.join(of(0), 3)] == [5, 6, 7]


def test_a_copy_counts_for_itself():
    epochs = Epochs()
    epochs.begin(0)
    other = copy.deepcopy(epochs)
    assert [other.begin(0), other.begin(0), epochs.begin(0)] == [1, 2, 1]


def _begin(epochs, numbers):
    for _ in range(50):
        numbers.put(epochs.begin(0))


def test_processes_that_begin_at_once_get_different_numbers():
    context = multiprocessing.get_context("fork")
    epochs, numbers = Epochs(), context.SimpleQueue()
    children = [context.Process(target=_begin, args=(epochs, numbers)) for _ in range(4)]
    for child in children:
        child.start()
    found = sorted(numbers.get() for _ in range(200))
    for child in children:
        child.join()
    assert found == list(range(200))
