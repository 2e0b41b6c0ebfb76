"""Models: numbered versions, aliases and their history, in the state database."""

from nemesyst.models.records import Move
from nemesyst.models.reference import Reference
from nemesyst.models.registry import Models

__all__ = ["Models", "Move", "Reference"]
