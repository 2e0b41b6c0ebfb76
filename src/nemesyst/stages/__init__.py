"""The stages: wrangle, learn and infer, as plain functions."""

from nemesyst.stages.arguments import arguments_of, check_known
from nemesyst.stages.best import Best, promote_best
from nemesyst.stages.changing import changed_feed, check_predictor_feed, learner_model
from nemesyst.stages.checking import check_learner, check_resources
from nemesyst.stages.checkpointing import CheckpointWarning, Resumed
from nemesyst.stages.context import Run
from nemesyst.stages.declare import (
    Learner,
    Predictor,
    Stage,
    Trained,
    Wrangler,
    learner,
    predictor,
    stage_of,
    wrangler,
)
from nemesyst.stages.entities import entities_of, entity_text, narrowing_field
from nemesyst.stages.expanding import Expansion, Piece, expand, expands, piece_feed
from nemesyst.stages.fleets.fleet import Fleet, FleetStage, fleet
from nemesyst.stages.grid import check_arguments, check_grid, combinations
from nemesyst.stages.replaying import Replay, replay
from nemesyst.stages.scripts import Script, load_script, run_script, script_line
from nemesyst.stages.seams import Alone, Changes, Group, JobContext, Progress, Recorder, Silent, Unrecorded
from nemesyst.stages.snapshots import Snapshot
from nemesyst.stages.trying import trial
from nemesyst.stages.work import Outcome, work

__all__ = [
    "Alone",
    "Best",
    "Changes",
    "CheckpointWarning",
    "Expansion",
    "Fleet",
    "FleetStage",
    "Group",
    "JobContext",
    "Learner",
    "Outcome",
    "Piece",
    "Predictor",
    "Progress",
    "Recorder",
    "Replay",
    "Resumed",
    "Run",
    "Script",
    "Silent",
    "Snapshot",
    "Stage",
    "Trained",
    "Unrecorded",
    "Wrangler",
    "arguments_of",
    "changed_feed",
    "check_arguments",
    "check_grid",
    "check_known",
    "check_learner",
    "check_predictor_feed",
    "check_resources",
    "combinations",
    "entities_of",
    "entity_text",
    "expand",
    "expands",
    "fleet",
    "learner",
    "learner_model",
    "load_script",
    "narrowing_field",
    "piece_feed",
    "predictor",
    "promote_best",
    "replay",
    "run_script",
    "script_line",
    "stage_of",
    "trial",
    "work",
    "wrangler",
]
