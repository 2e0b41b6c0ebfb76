"""Reading a collection as it was at a cluster time, while others go on writing to it."""

from nemesyst.database.cutoff.changes import Changes
from nemesyst.database.cutoff.cutoff import Cutoff
from nemesyst.database.cutoff.ids import Ids
from nemesyst.database.cutoff.rate import RateLimit
from nemesyst.database.cutoff.read import CutoffRead, Reread
from nemesyst.database.cutoff.times import as_time, present_time

__all__ = ["Changes", "Cutoff", "CutoffRead", "Ids", "RateLimit", "Reread", "as_time", "present_time"]
