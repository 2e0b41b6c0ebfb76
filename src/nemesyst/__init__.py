"""Deep learning straight from your database."""

from nemesyst.database import unpack
from nemesyst.errors import NemesystError
from nemesyst.feed import AsOf, BoundFeed, Feed, Split, Window
from nemesyst.hub import Hub, connect
from nemesyst.models import Models, Saving, architecture
from nemesyst.models.metrics import Metric, accuracy, f1, log_loss, macro_f1, mae, mape, mse, pinball, r2, rmse
from nemesyst.stages import Best, Run, Trained, fleet, learner, predictor, trial, wrangler
from nemesyst.types import Batch, PutReport, Version

__version__ = "0.1.0"

__all__ = [
    "AsOf",
    "Batch",
    "Best",
    "BoundFeed",
    "Feed",
    "Hub",
    "Metric",
    "Models",
    "NemesystError",
    "PutReport",
    "Run",
    "Saving",
    "Split",
    "Trained",
    "Version",
    "Window",
    "accuracy",
    "architecture",
    "connect",
    "f1",
    "fleet",
    "learner",
    "log_loss",
    "macro_f1",
    "mae",
    "mape",
    "mse",
    "pinball",
    "predictor",
    "r2",
    "rmse",
    "trial",
    "unpack",
    "wrangler",
]
