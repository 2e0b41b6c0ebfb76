"""How a pipeline is judged: what can be pushed down into chunks, which index serves it, and how that is told."""

from nemesyst.feed.judging.advice import Advice, advise, key_field
from nemesyst.feed.judging.drawing import drawn_from_all
from nemesyst.feed.judging.explained import Explanation, explain
from nemesyst.feed.judging.judge import Judgement, Verdict, judge
from nemesyst.feed.judging.paths import keeps

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
