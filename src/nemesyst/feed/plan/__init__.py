"""The plan of a feed: its cutoff, the chunks that it is read in, and what is known of them."""

from nemesyst.feed.plan.bounds import Bounds
from nemesyst.feed.plan.key import BY_ID, Bound, Key
from nemesyst.feed.plan.sizes import largest

__all__ = ["BY_ID", "Bound", "Bounds", "Key", "largest"]
