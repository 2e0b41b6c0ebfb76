"""How a pipeline is judged: what can be pushed down into chunks, which index serves it, and how that is told."""

from typing import TYPE_CHECKING

from nemesyst.feed.judging.drawing import drawn_from_all
from nemesyst.feed.judging.judge import Judgement, Verdict, judge
from nemesyst.feed.judging.paths import keeps
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.feed.judging.advice import Advice, advise, key_field
    from nemesyst.feed.judging.explained import Explanation, explain

__getattr__ = later(
    __name__,
    {
        "Advice": "advice",
        "Explanation": "explained",
        "advise": "advice",
        "explain": "explained",
        "key_field": "advice",
    },
)

__all__ = [
    "Advice",
    "Explanation",
    "Judgement",
    "Verdict",
    "advise",
    "drawn_from_all",
    "explain",
    "judge",
    "keeps",
    "key_field",
]
