"""Models: numbered versions, aliases and their history, in the state database."""

from typing import TYPE_CHECKING

from nemesyst.lazy import later
from nemesyst.models.aliases import ANY, Promotion
from nemesyst.models.architectures import architecture
from nemesyst.models.collecting import Collected
from nemesyst.models.curves import Curves
from nemesyst.models.environment import environment
from nemesyst.models.golden import inputs_of
from nemesyst.models.metrics import Metric, metric_named
from nemesyst.models.provenance import code_of, differences
from nemesyst.models.records import Move
from nemesyst.models.reference import Reference, check_alias
from nemesyst.models.registry import Models
from nemesyst.models.saving import Saving
from nemesyst.models.scoring import Scores

if TYPE_CHECKING:
    from nemesyst.models.exchange import Exported

__getattr__ = later(__name__, {"Exported": "exchange"})

__all__ = [
    "ANY",
    "Collected",
    "Curves",
    "Exported",
    "Metric",
    "Models",
    "Move",
    "Promotion",
    "Reference",
    "Saving",
    "Scores",
    "architecture",
    "check_alias",
    "code_of",
    "differences",
    "environment",
    "inputs_of",
    "metric_named",
]
