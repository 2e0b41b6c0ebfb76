"""Feeds: streams of batches that a pipeline over a collection yields."""

from typing import TYPE_CHECKING

from nemesyst.feed.bind import bind
from nemesyst.feed.binding import Asked, Place
from nemesyst.feed.bound import BoundFeed
from nemesyst.feed.explain import explain
from nemesyst.feed.function_source import source_fingerprint
from nemesyst.feed.joins import AsOf
from nemesyst.feed.order import Shard
from nemesyst.feed.params import asked_for, parameter
from nemesyst.feed.pipeline import load_pipeline, looks_at_one
from nemesyst.feed.spec import Feed
from nemesyst.feed.split import PARTS, Split
from nemesyst.feed.windows import Window
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.feed.judging import Explanation
    from nemesyst.feed.plan.collect import collect
    from nemesyst.feed.scaling import Scaler, collector

__getattr__ = later(
    __name__, {"Explanation": "judging", "Scaler": "scaling", "collector": "scaling", "collect": "plan.collect"}
)

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
    "asked_for",
    "bind",
    "collect",
    "collector",
    "explain",
    "load_pipeline",
    "looks_at_one",
    "parameter",
    "source_fingerprint",
]
