"""In which order an epoch goes through the samples of its chunks, for any number of ranks, from any position.

A *sample* is what a batch has one of per row: a row, or a window. A rank goes through *blocks*, each a few chunks whose
samples are shuffled together. All of it is arithmetic on the numbers of samples in chunks, so that a position
in an epoch is no more than how many steps each number of ranks has made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, islice, repeat
from itertools import count as numbers
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Count = Callable[[int], int]
    """How many samples a chunk has."""

Array = np.ndarray[Any, Any]


class Piece(NamedTuple):
    """Samples ``start`` to ``stop`` (None: to the end) of a chunk."""

    chunk: int
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Block:
    """Samples that are shuffled together.

    Attributes:
        pieces: Where they are.
        seed: Seed of their order; None: as they come.
        start: Samples ``start`` to ``stop`` (None: to the end) of that order.
        stop: See ``start``.
    """

    pieces: tuple[Piece, ...]
    seed: tuple[int, ...] | None = None
    start: int = 0
    stop: int | None = None

    def order(self, samples: int) -> Array | slice:
        """Which of the ``samples`` of its pieces come, in their order."""
        if self.seed is None:
            return slice(self.start, samples if self.stop is None else self.stop)
        return np.random.default_rng(self.seed).permutation(samples)[self.start : self.stop]

    def samples(self, count: Count) -> int:
        """How many samples come."""
        if self.stop is not None:
            return self.stop - self.start
        whole = ((count(piece.chunk) if piece.stop is None else piece.stop) - piece.start for piece in self.pieces)
        return sum(whole) - self.start


class Shard(NamedTuple):
    """One of ``world`` ranks; if ``even``, all of them make the same number of steps."""

    rank: int = 0
    world: int = 1
    even: bool = False


ALL = Shard()
"""The one rank that goes through everything."""


class Leg(NamedTuple):
    """A part of an epoch that some ranks went: each of ``world`` made up to ``steps`` steps."""

    world: int
    even: bool
    steps: int


@dataclass(frozen=True)
class Order:
    """The order of one epoch.

    Attributes:
        epoch: Its number.
        seed: The feed's seed; None: not shuffled.
        batch: Samples of a step.
        block: Documents of a block, at least, when shuffled.
        rows: Documents of a chunk, about.
        chunks: How many chunks there are; only asked when it is needed.
        exists: Whether there is such a chunk.
        count: How many samples a chunk has; only asked when it is needed.
    """

    epoch: int
    seed: int | None
    batch: int
    block: int
    rows: Count
    chunks: Callable[[], int]
    exists: Callable[[int], bool]
    count: Count

    def run(
        self, shard: Shard, legs: Sequence[Leg] = (), *, strict: bool = False
    ) -> tuple[Iterator[Block], Iterator[int]]:
        """What a rank goes through after what others have gone through: its blocks, and the samples of each step.

        Args:
            shard: The rank.
            legs: What others have gone through.
            strict: Whether to refuse a leg of more steps than any of its ranks can have made.

        Raises:
            FeedError: There is such a leg.
        """
        before: Leg | None = None
        streams: list[list[Block]] = []
        for leg in legs:
            dealt = [list(self._dealt(Shard(rank, leg.world, leg.even), before, streams)) for rank in range(leg.world)]
            goes_on = leg[:2] == shard[1:] and leg is legs[-1]
            if strict:
                first = shard.rank if goes_on else 0  # whose samples have to be counted anyway
                self._check([*dealt[first:], *dealt[:first]], leg)
            if goes_on:
                steps = self._steps(dealt, shard.rank, leg.even)
                return iter(self._left(dealt[shard.rank], self._done(steps, leg))), steps
            streams = [
                self._left(blocks, self._done(self._steps(dealt, rank, leg.even), leg))
                for rank, blocks in enumerate(dealt)
            ]
            before = leg
        if not shard.even:
            return self._dealt(shard, before, streams), repeat(self.batch)
        shares = [list(self._dealt(Shard(rank, *shard[1:]), before, streams)) for rank in range(shard.world)]
        return iter(shares[shard.rank]), self._steps(shares, shard.rank, shard.even)

    def _done(self, steps: Iterator[int], leg: Leg) -> int:
        """The samples of a leg's steps, which are taken from ``steps``."""
        return sum(islice(steps, leg.steps)) if leg.even else self.batch * leg.steps

    def _check(self, dealt: Sequence[Sequence[Block]], leg: Leg) -> None:
        """Refuse a leg that none of its ranks can have made."""
        if leg.even:
            most = sum(1 for _ in self._steps(dealt, 0, even=True))
        else:  # counts no further than it must
            least = self.batch * (leg.steps - 1)
            if not leg.steps or any(self._more(blocks, least) for blocks in dealt):
                return
            most = max(-(-sum(block.samples(self.count) for block in blocks) // self.batch) for blocks in dealt)
        if leg.steps > most:
            ranks = "one rank" if leg.world == 1 else f"each of {leg.world:,} ranks"
            raise FeedError(
                f"load_state_dict: this is not the state of a feed: it says that {ranks} made {leg.steps:,} steps, and "
                f"there were {most:,}",
                "Give what state_dict() gave.",
            )

    def _more(self, blocks: Sequence[Block], samples: int) -> bool:
        """Whether blocks have more samples than so many."""
        return any(total > samples for total in accumulate(block.samples(self.count) for block in blocks))

    def _steps(self, shares: Sequence[Sequence[Block]], rank: int, even: bool) -> Iterator[int]:
        """How many samples a rank gives in each step."""
        if not even:
            return repeat(self.batch)
        sizes = [sum(block.samples(self.count) for block in blocks) for blocks in shares]
        # at most the batch size each; but no step of none where a rank has one sample less than another
        steps = min(-(-max(sizes) // self.batch), max(min(sizes), 1))
        size = sizes[rank]
        return (size * (step + 1) // steps - size * step // steps for step in range(steps))

    def _dealt(self, shard: Shard, before: Leg | None, left: Sequence[Sequence[Block]]) -> Iterator[Block]:
        """A rank's share of what is left; of the whole epoch if nothing came before."""
        if before is None:
            return self._evenly(self._all(), shard) if shard.even else self._of_rank(shard)
        blocks = [block for stream in left for block in stream]
        return self._evenly(blocks, shard) if shard.even else iter(blocks[shard.rank :: shard.world])

    def _of_rank(self, shard: Shard) -> Iterator[Block]:
        if self.seed is None:
            for chunk in numbers(shard.rank, shard.world):
                if not self.exists(chunk):
                    return
                yield Block((Piece(chunk),))
        else:
            yield from self._grouped(self._permuted()[shard.rank :: shard.world])

    def _all(self) -> Iterator[Block]:
        if self.seed is None:
            return (Block((Piece(chunk),)) for chunk in range(self.chunks()))
        return self._grouped(self._permuted())

    def _permuted(self) -> list[int]:
        order: list[int] = np.random.default_rng([self.seed or 0, self.epoch]).permutation(self.chunks()).tolist()
        return order

    def _grouped(self, chunks: Sequence[int]) -> Iterator[Block]:
        pieces: list[Piece] = []
        rows = 0
        for chunk in chunks:
            pieces.append(Piece(chunk))
            rows += self.rows(chunk)
            if rows >= self.block:
                yield self._shuffled(pieces)
                pieces, rows = [], 0
        if pieces:
            yield self._shuffled(pieces)

    def _shuffled(self, pieces: Sequence[Piece]) -> Block:
        return Block(tuple(pieces), (self.seed or 0, self.epoch, 1 + pieces[0].chunk))

    def _evenly(self, blocks: Iterable[Block], shard: Shard) -> Iterator[Block]:
        """The samples of all blocks one after the other, cut so that no rank has two more than another."""
        blocks = list(blocks)
        sizes = [block.samples(self.count) for block in blocks]
        low, high = (sum(sizes) * rank // shard.world for rank in (shard.rank, shard.rank + 1))
        begin = 0
        for block, size in zip(blocks, sizes, strict=True):
            start, stop = max(low - begin, 0), min(high - begin, size)
            if start < stop:
                yield replace(block, start=block.start + start, stop=block.start + stop)
            begin += size

    def _left(self, blocks: Sequence[Block], done: int) -> list[Block]:
        """What is left of a rank's blocks after so many samples."""
        for number, block in enumerate(blocks):
            if not done:
                return list(blocks[number:])
            size = block.samples(self.count)
            if done < size:
                return [replace(block, start=block.start + done), *blocks[number + 1 :]]
            done -= size
        return []
