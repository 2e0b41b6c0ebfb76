"""Deep learning straight from your database."""

from nemesyst.database import unpack
from nemesyst.errors import NemesystError
from nemesyst.feed import BoundFeed, Feed, Split
from nemesyst.hub import Hub, connect
from nemesyst.models import Models
from nemesyst.stages import Run, Trained, learner, predictor, wrangler
from nemesyst.types import Batch, PutReport, Version

__version__ = "0.1.0"

__all__ = [
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
    "connect",
    "learner",
    "predictor",
    "unpack",
    "wrangler",
]
