"""Models: numbered versions, aliases and their history, in the state database."""

from nemesyst.models.records import Move
from nemesyst.models.reference import Reference, check_alias
from nemesyst.models.registry import Models

__all__ = ["Models", "Move", "Reference", "check_alias"]
