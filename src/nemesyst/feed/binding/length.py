"""How many batches and samples an epoch has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemesyst.errors import FeedError
from nemesyst.feed.split import PARTS

if TYPE_CHECKING:
    from nemesyst.feed.binding.bound_rows import Binding


def steps(binding: Binding, part: int | None) -> int:
    """How many batches this rank gives in an epoch."""
    order = binding.order(0, part)
    blocks, sizes = order.run(binding.shard)
    if binding.shard.even:
        return sum(1 for _ in sizes)
    return -(-sum(block.samples(order.count) for block in blocks) // binding.spec.batch_size)


def estimate(binding: Binding, part: str | None) -> int | None:
    """About how many samples a part has on this rank: as was counted, else by the server's counter."""
    index = None if part is None or binding.spec.split is None else PARTS.index(part)
    rows, facts = binding.chunks.source.rows, binding.chunks.facts
    if rows.complete and all(chunk in facts for chunk in range(rows.chunks())):
        total = sum(binding.chunks.count(chunk, index) for chunk in facts)
    else:
        counted = binding.target.counted()
        if counted is None:
            return None
        total = round(counted * _share(binding, part))
    return total // binding.shard.world


def _share(binding: Binding, part: str | None) -> float:
    split = binding.spec.split
    if split is None or part is None:
        return 1.0
    shares = {"validation": split.validation, "test": split.test}
    shares["train"] = 1 - sum(shares.values())
    return shares[part]


def check_even(binding: Binding, part: int | None) -> None:
    """Refuse ranks that would have nothing.

    Raises:
        FeedError: There are fewer rows than ranks.
    """
    rows, world = binding.chunks.source.rows, binding.shard.world
    total = sum(binding.chunks.count(chunk, part) for chunk in range(rows.chunks()))
    if total < world:
        what = "rows" if part is None else f"rows in the {PARTS[part]} part"
        raise FeedError(
            f"feed of {binding.spec.collection}: {total} {what} for {world} ranks with even=True",
            "Use fewer ranks, or put rows in first.",
        )
