"""The order of an epoch: every sample once, for any number of ranks, through any number of interruptions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemesyst.feed.order import Leg, Order, Shard

pytestmark = pytest.mark.core


class Epoch:
    """An order over chunks of given sizes, whose samples are named (chunk, number)."""

    def __init__(self, sizes, batch, *, seed=None, block=1, epoch=0):
        self.sizes, self.batch = sizes, batch
        self.counted = set()
        self.order = Order(
            epoch,
            seed,
            batch,
            block,
            lambda chunk: 5,
            lambda: len(sizes),
            lambda chunk: chunk < len(sizes),
            self._count,
        )

    def _count(self, chunk):
        self.counted.add(chunk)
        return self.sizes[chunk]

    def samples(self):
        return [(chunk, i) for chunk, size in enumerate(self.sizes) for i in range(size)]

    def batches(self, shard, legs=(), most=None):
        """What a rank gives in an epoch, or in its first ``most`` steps."""
        blocks, steps = self.order.run(shard, legs)
        given, waiting = [], []
        for size in steps:
            if most is not None and len(given) >= most:
                break
            while len(waiting) < size and (block := next(blocks, None)) is not None:
                waiting += self._of(block)
            if not waiting and size:
                break
            given.append(waiting[:size])
            waiting = waiting[size:]
        return given

    def _of(self, block):
        found = [
            (chunk, i)
            for chunk, start, stop in block.pieces
            for i in range(start, self.sizes[chunk] if stop is None else stop)
        ]
        chosen = block.order(len(found))
        return found[chosen] if isinstance(chosen, slice) else [found[i] for i in chosen]


epochs = st.builds(
    Epoch,
    st.lists(st.integers(0, 9), max_size=8),
    st.integers(1, 5),
    seed=st.sampled_from([None, 7]),
    block=st.integers(1, 20),
    epoch=st.integers(0, 3),
)
worlds = st.tuples(st.integers(1, 4), st.booleans())
walks = st.lists(st.tuples(worlds, st.integers(0, 3)), max_size=4)


def walked(epoch, walk):
    """Go through legs, each resumed from the one before; samples by leg, and the legs as a state has them."""
    legs, given = [], []
    for (world, even), most in walk:
        before = legs[-1] if legs and legs[-1][:2] == (world, even) else None
        shares = [epoch.batches(Shard(rank, world, even), tuple(legs), most) for rank in range(world)]
        given.append(shares)
        steps = max(map(len, shares)) + (before.steps if before else 0)
        legs = [*(legs[:-1] if before else legs), Leg(world, even, steps)]
    return given, tuple(legs)


def flat(shares):
    return [sample for share in shares for batch in share for sample in batch]


@settings(max_examples=400, deadline=None)
@given(epochs, walks, worlds)
def test_every_sample_comes_once_through_any_number_of_ranks_one_after_the_other(epoch, walk, last):
    given, legs = walked(epoch, walk)
    rest = [epoch.batches(Shard(rank, *last), legs) for rank in range(last[0])]
    found = [sample for shares in [*given, rest] for sample in flat(shares)]
    assert sorted(found) == epoch.samples()


@settings(max_examples=200, deadline=None)
@given(epochs, walks, st.integers(1, 4))
def test_even_ranks_make_as_many_steps_and_none_of_them_is_empty_while_rows_last(epoch, walk, world):
    _, legs = walked(epoch, walk)
    shares = [epoch.batches(Shard(rank, world, even=True), legs) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    if len(flat(shares)) >= world:
        assert all(batch for share in shares for batch in share)


@settings(max_examples=200, deadline=None)
@given(epochs, walks, worlds, st.integers(0, 4), st.integers(0, 4))
def test_a_rank_that_goes_on_on_as_many_ranks_gives_what_it_would_have_given(epoch, walk, world, first, second):
    _, legs = walked(epoch, walk)
    if legs and legs[-1][:2] == world:
        legs = legs[:-1]
    for rank in range(world[0]):
        shard = Shard(rank, *world)
        whole = epoch.batches(shard, legs)
        one = epoch.batches(shard, legs, first)
        two = epoch.batches(shard, (*legs, Leg(*world, first)), second)
        three = epoch.batches(shard, (*legs, Leg(*world, first + second)))
        assert one + two + three == whole


@settings(max_examples=100, deadline=None)
@given(epochs, st.integers(1, 4))
def test_uneven_ranks_fill_their_batches_and_count_nothing(epoch, world):
    for rank in range(world):
        batches = epoch.batches(Shard(rank, world))
        assert all(len(batch) == epoch.batch for batch in batches[:-1])
        assert all(batches)
    assert not epoch.counted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 5), worlds)
def test_without_a_shuffle_samples_come_in_order(sizes, batch, world):
    epoch = Epoch(sizes, batch)
    for rank in range(world[0]):
        given = flat([epoch.batches(Shard(rank, *world))])
        assert given == sorted(given)


def test_epochs_and_seeds_are_shuffled_differently():
    sizes = [50] * 10
    orders = [
        flat([Epoch(sizes, 16, seed=seed, block=200, epoch=epoch).batches(Shard())])
        for seed in (1, 2)
        for epoch in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def test_a_batch_is_drawn_from_several_chunks():
    batches = Epoch([50] * 10, 16, seed=1, block=200).batches(Shard())
    assert all(len({chunk for chunk, _ in batch}) > 2 for batch in batches[:-1])


@pytest.mark.parametrize("world", [2, 3, 7])
def test_even_ranks_differ_by_one_sample_at_most(world):
    epoch = Epoch([9, 0, 30, 1, 14], 4, seed=3)
    sizes = [len(flat([epoch.batches(Shard(rank, world, even=True))])) for rank in range(world)]
    assert max(sizes) - min(sizes) <= 1
