"""Feeds: streams of batches that a pipeline over a collection yields."""

from nemesyst.feed.bound import BoundFeed, bind
from nemesyst.feed.parts import PARTS
from nemesyst.feed.spec import Feed, Split

__all__ = ["PARTS", "BoundFeed", "Feed", "Split", "bind"]
