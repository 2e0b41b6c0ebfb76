"""How a feed would run, for people: ``nemesyst feed C --explain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemesyst.feed.judging.advice import Advice, advise
from nemesyst.feed.judging.judge import Judgement, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database import Connection


@dataclass(frozen=True)
class Explanation:
    """How a pipeline over a collection would run.

    Attributes:
        collection: The collection.
        judgement: What can be pushed down, and why not.
        advice: The index that is used, and the one that is lacking.
    """

    collection: str
    judgement: Judgement
    advice: Advice

    def lines(self) -> list[str]:
        """The explanation as lines of text."""
        return [*self._stages(), self._index(), self._chunks(), *self._hints()]

    def as_dict(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        judgement, advice = self.judgement, self.advice
        return {
            "collection": self.collection,
            "pushed_down": judgement.per_document,
            "stages": [
                {"stage": each.name, "per_document": each.per_document, "why": each.why} for each in judgement.verdicts
            ],
            "lookups": list(judgement.lookups),
            "access": advice.access.kind,
            "index": None if advice.access.index is None else advice.access.index.name,
            "chunk_key": advice.key or "_id",
            "create_index": advice.command,
            "lines": self.lines(),
        }

    def _stages(self) -> list[str]:
        verdicts = self.judgement.verdicts
        if not verdicts:
            return [f"{self.collection}: no pipeline; documents are read as they are"]
        down = "pushed down: each chunk runs it on its own documents"
        how = down if self.judgement.per_document else "run once over the whole collection, and its rows kept"
        width = max(len(each.name) for each in verdicts)
        lines = [
            f"  {each.number}  {each.name:<{width}}  {'' if each.per_document else 'not by chunks: '}{each.why}"
            for each in verdicts
        ]
        return [f"{self.collection}: {how}", *lines]

    def _index(self) -> str:
        access, match = self.advice.access, self.judgement.match
        if match is None:
            return "index: none is needed, as no $match leads the pipeline"
        if access.kind == "scan":
            return "index: none serves the $match; every document is read"
        if access.kind == "clustered":
            return "index: the collection's own order (clustered on _id) serves the $match"
        if access.index is None:
            return "index: several, or one of another collection, serve the $match"
        return f"index: {access.index.name} {access.index.shown} serves the $match"

    def _chunks(self) -> str:
        if not self.judgement.per_document:
            return "chunks: ranges of the kept rows, in the order of the pipeline's result"
        if self.advice.index is not None and self.advice.key != "_id":
            return f"chunks: ranges of {self.advice.key}, along index {self.advice.index.name}"
        return "chunks: ranges of _id"

    def _hints(self) -> list[str]:
        others = self.judgement.lookups
        hints = [f"also reads: {', '.join(others)}, under the same cutoff"] if others else []
        if self.judgement.per_document and not self.judgement.keeps_id:
            hints.append("rows are told apart by the _id of their document and their place among its rows")
        if self.advice.command is not None:
            hints += [f"hint: {self.advice.why}", f"  {self.advice.command}"]
        return hints


def explain(
    connection: Connection,
    database: str,
    collection: str,
    stages: Sequence[Mapping[str, Any]],
    *,
    order: Sequence[str] = (),
) -> Explanation:
    """Tell how a pipeline would run, without running it.

    Args:
        connection: The server.
        database: Name of the database.
        collection: Name of the collection.
        stages: The pipeline, with its parameters put in.
        order: Fields by which rows are wanted in order, such as (by, on) of a window.

    Raises:
        PipelineError: A stage is malformed, or the server refuses the match.
        DatabaseError: The server cannot be asked.
    """
    judgement = judge(stages)
    return Explanation(collection, judgement, advise(connection, database, collection, judgement.match, order=order))
