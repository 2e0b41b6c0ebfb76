"""Evaluation: versions, each with its own inputs, window and scale, over the same rows."""

from nemesyst.lazy import later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nemesyst.models.evaluation.evaluating import evaluate
    from nemesyst.models.evaluation.loading import Loading
    from nemesyst.models.evaluation.results import Result, Results
    from nemesyst.models.evaluation.store import Evaluations

__getattr__ = later(
    __name__,
    {
        "Evaluations": "store",
        "Loading": "loading",
        "Result": "results",
        "Results": "results",
        "evaluate": "evaluating",
    },
)

__all__ = ["Evaluations", "Loading", "Result", "Results", "evaluate"]
