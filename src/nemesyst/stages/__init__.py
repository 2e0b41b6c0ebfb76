"""The stages: wrangle, learn and infer, as plain functions."""

from nemesyst.stages.arguments import arguments_of, check_known
from nemesyst.stages.context import Progress, Run
from nemesyst.stages.declare import Learner, Predictor, Stage, Trained, Wrangler, learner, predictor, stage_of, wrangler
from nemesyst.stages.replaying import Replay, replay
from nemesyst.stages.scripts import Script, load_script, run_script, script_line
from nemesyst.stages.work import Outcome, work

__all__ = [
    "Learner",
    "Outcome",
    "Predictor",
    "Progress",
    "Replay",
    "Run",
    "Script",
    "Stage",
    "Trained",
    "Wrangler",
    "arguments_of",
    "check_known",
    "learner",
    "load_script",
    "predictor",
    "replay",
    "run_script",
    "script_line",
    "stage_of",
    "work",
    "wrangler",
]
