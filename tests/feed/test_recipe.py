"""How another process opens a feed again."""

import pickle

import pytest

from nemesyst.errors import FeedError
from nemesyst.feed.recipe import Recipe

pytestmark = pytest.mark.core


class Nowhere:
    def connect(self):
        return "connection"


def opened(connection, worker, workers, **state):
    return connection, worker, workers, state


def test_it_connects_and_opens_a_share_with_what_it_knows():
    assert Recipe(Nowhere(), opened, part="train").open(1, 3) == ("connection", 1, 3, {"part": "train"})


def test_a_function_that_cannot_be_sent_is_told_before_the_process_starts():
    recipe = Recipe(Nowhere(), opened, part="train", map=lambda batch: batch)
    with pytest.raises(FeedError, match=r"its map cannot be sent there.*\n.*no lambda"):
        pickle.dumps(recipe)
