"""Records of runs: what they did, what they logged and printed, and whether they still run."""

from nemesyst.run.records.points import Series
from nemesyst.run.records.record import STATUSES, RunRecord, Work, new_id
from nemesyst.run.records.runs import Runs, Told
from nemesyst.run.records.spool import catch_up

__all__ = ["STATUSES", "RunRecord", "Runs", "Series", "Told", "Work", "catch_up", "new_id"]
