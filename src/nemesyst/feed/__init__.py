"""Feeds: streams of batches that a pipeline over a collection yields."""

from nemesyst.feed.bind import bind
from nemesyst.feed.binding import Asked, Place
from nemesyst.feed.bound import BoundFeed
from nemesyst.feed.explain import explain
from nemesyst.feed.joins import AsOf
from nemesyst.feed.judging import Explanation
from nemesyst.feed.order import Shard
from nemesyst.feed.spec import Feed
from nemesyst.feed.split import PARTS, Split
from nemesyst.feed.windows import Window

__all__ = [
    "PARTS",
    "AsOf",
    "Asked",
    "BoundFeed",
    "Explanation",
    "Feed",
    "Place",
    "Shard",
    "Split",
    "Window",
    "bind",
    "explain",
]
