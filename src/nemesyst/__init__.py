"""Deep learning straight from your database."""

from nemesyst.database import unpack
from nemesyst.errors import NemesystError
from nemesyst.feed import AsOf, BoundFeed, Feed, Split, Window
from nemesyst.hub import Hub, connect
from nemesyst.models import Models
from nemesyst.stages import Run, Trained, learner, predictor, wrangler
from nemesyst.types import Batch, PutReport, Version

__version__ = "0.1.0"

__all__ = [
    "AsOf",
    "Batch",
    "BoundFeed",
    "Feed",
    "Hub",
    "Models",
    "NemesystError",
    "PutReport",
    "Run",
    "Split",
    "Trained",
    "Version",
    "Window",
    "connect",
    "learner",
    "predictor",
    "unpack",
    "wrangler",
]
