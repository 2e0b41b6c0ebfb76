"""Models: numbered versions, aliases and their history, in the state database."""

from nemesyst.models.aliases import ANY, Promotion
from nemesyst.models.architectures import architecture
from nemesyst.models.collecting import Collected
from nemesyst.models.curves import Curves
from nemesyst.models.environment import environment
from nemesyst.models.exchange import Exported
from nemesyst.models.provenance import code_of, differences
from nemesyst.models.records import Move
from nemesyst.models.reference import Reference, check_alias
from nemesyst.models.registry import Models
from nemesyst.models.saving import Saving

__all__ = [
    "ANY",
    "Collected",
    "Curves",
    "Exported",
    "Models",
    "Move",
    "Promotion",
    "Reference",
    "Saving",
    "architecture",
    "check_alias",
    "code_of",
    "differences",
    "environment",
]
