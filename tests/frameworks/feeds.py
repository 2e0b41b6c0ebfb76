"""Feeds of a few lines, to convert: one in memory, one out of a database that can be handed to other processes."""

from __future__ import annotations

import numpy as np

from nemesyst.feed.recipe import Recipe
from nemesyst.frameworks.conversions import Conversions


class Memory(Conversions):
    """Epochs given as lists of batches; ``known``: whether it has a length."""

    def __init__(self, *epochs, known=True):
        self.epochs = epochs
        self.begun = self.ended = self.epoch = 0
        self.length = len(epochs[0]) if known else None

    @property
    def layout(self):
        return {name: (values.dtype, values.shape[1:]) for name, values in self.epochs[0][0].items()}

    def __iter__(self):
        self.begun += 1
        epoch, self.epoch = self.epoch, self.epoch + 1
        yield from self.epochs[epoch % len(self.epochs)]
        self.ended += 1

    def __len__(self):
        if self.length is None:
            raise TypeError("unknown")
        return self.length


class Rows(Conversions):
    """Numbers of the rows of a collection, in batches, in another order in each epoch."""

    layout = {"i": (np.dtype(np.int64), ())}  # noqa: RUF012 - never changed

    def __init__(self, connection, database, again, *, size=4, share=(0, 1), epoch=0):
        self.rows = connection.database(database)["rows"]
        self.how = (again, database, size)
        self.share = share
        self.epoch = epoch

    def __iter__(self):
        numbers = np.array([row["i"] for row in self.rows.find(sort={"i": 1})])
        order = np.random.default_rng(self.epoch).permutation(numbers)
        self.epoch += 1
        size = self.how[2]
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for batch in batches[self.share[0] :: self.share[1]]:
            yield {"i": batch.copy()}

    def recipe(self):
        again, database, size = self.how
        return Recipe(again, build, database=database, again=again, size=size, epoch=self.epoch)


def build(connection, worker, workers, *, database, again, size, epoch):
    return Rows(connection, database, again, size=size, share=(worker, workers), epoch=epoch)
