"""Feeds: streams of batches that a pipeline over a collection yields."""

from typing import TYPE_CHECKING

from nemesyst.feed.bind import bind
from nemesyst.feed.binding import Asked, Place
from nemesyst.feed.bound import BoundFeed
from nemesyst.feed.explain import explain
from nemesyst.feed.function_source import source_fingerprint
from nemesyst.feed.joins import AsOf
from nemesyst.feed.judging import Explanation
from nemesyst.feed.order import Shard
from nemesyst.feed.params import parameter
from nemesyst.feed.pipeline import load_pipeline
from nemesyst.feed.spec import Feed
from nemesyst.feed.split import PARTS, Split
from nemesyst.feed.windows import Window
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.feed.plan.collect import collect
    from nemesyst.feed.scaling import Scaler

__getattr__ = later(__name__, {"Scaler": "scaling", "collect": "plan.collect"})

__all__ = [
    "PARTS",
    "AsOf",
    "Asked",
    "BoundFeed",
    "Explanation",
    "Feed",
    "Place",
    "Scaler",
    "Shard",
    "Split",
    "Window",
    "bind",
    "collect",
    "explain",
    "load_pipeline",
    "parameter",
    "source_fingerprint",
]
