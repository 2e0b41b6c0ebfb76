"""Whether a pipeline can run on a part of a collection at a time, and what its rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemesyst.feed.judging.chance import chances
from nemesyst.feed.judging.paths import Id, asked, id_after, overlap, written
from nemesyst.feed.pipeline import inner_pipelines, load_pipeline, looks_at_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nemesyst.feed.pipeline import Stage

_ACROSS = {
    "$group": "groups the documents of the whole collection",
    "$bucket": "groups the documents of the whole collection",
    "$bucketAuto": "groups the documents of the whole collection",
    "$sortByCount": "groups the documents of the whole collection",
    "$count": "counts the documents of the whole collection",
    "$sort": "orders the documents of the whole collection",
    "$limit": "counts from the first document of the whole collection",
    "$skip": "counts from the first document of the whole collection",
    "$setWindowFields": "computes from neighbouring documents",
    "$densify": "makes documents between neighbouring ones",
    "$fill": "fills from neighbouring documents",
    "$facet": "runs pipelines over the whole collection",
    "$unionWith": "adds the documents of another collection",
    "$sample": "draws from the whole collection",
    "$geoNear": "orders the documents of the whole collection",
    "$documents": "brings documents of its own",
}
_ONCE = "it runs once"


@dataclass(frozen=True)
class Verdict:
    """One stage of a pipeline.

    Attributes:
        number: Its place, from 0.
        name: Such as ``"$match"``.
        per_document: Whether it gives the same rows when it sees a part of the collection at a time.
        why: The reason, for people.
    """

    number: int
    name: str
    per_document: bool
    why: str

    def __str__(self) -> str:
        return f"stage {self.number}, {self.name}: {self.why}"


@dataclass(frozen=True)
class Judgement:
    """What a pipeline does to documents.

    Attributes:
        per_document: Whether it can be pushed down into each chunk; otherwise it must run once, as a whole.
        reasons: Why not, a text for each stage that looks across documents, or gives another answer each time.
        steady: Whether it gives the same answer each time.
        lookups: Other collections that it reads, also in inner pipelines, sorted.
        match: The query that decides which documents enter it, as far as an index can serve it; None: all.
        keeps_id: Whether a row's ``_id`` is its document's and no other row's. Where not, a row's identity is
            (``_id`` of the document, ordinal).
        carries_id: Whether a row's ``_id`` is its document's, perhaps that of other rows as well (after ``$unwind``).
        verdicts: Each stage.
    """

    per_document: bool
    reasons: tuple[str, ...]
    steady: bool
    lookups: tuple[str, ...]
    match: Mapping[str, Any] | None
    keeps_id: bool
    carries_id: bool
    verdicts: tuple[Verdict, ...] = field(repr=False)


def judge(stages: Sequence[Stage]) -> Judgement:
    """Judge a pipeline whose parameters are put in.

    Raises:
        PipelineError: A stage is malformed, unknown or forbidden.

    >>> judge([{"$match": {"site": 12}}, {"$unwind": "$readings"}]).per_document
    True
    >>> judge([{"$limit": 10}]).reasons
    ('stage 0, $limit: counts from the first document of the whole collection',)
    """
    stages = load_pipeline(stages)
    verdicts = tuple(_verdict(number, stage) for number, stage in enumerate(stages))
    identity = min((id_after(stage) for stage in stages), default=Id.UNIQUE)
    across = [verdict for verdict in verdicts if not verdict.per_document]
    return Judgement(
        per_document=not across,
        reasons=tuple(map(str, across)),
        steady=not any(map(chances, stages)),
        lookups=tuple(sorted(set(_collections(stages)))),
        match=_leading_match(stages),
        keeps_id=identity is Id.UNIQUE,
        carries_id=identity >= Id.OWN,
        verdicts=verdicts,
    )


def _verdict(number: int, stage: Stage) -> Verdict:
    name = next(iter(stage))
    drawn = chances(stage)
    if not looks_at_one(stage):
        reasons = [_ACROSS.get(name, "looks across documents"), *(each for each in drawn if name not in each)]
        return Verdict(number, name, per_document=False, why="; ".join(reasons))
    if drawn:
        return Verdict(number, name, per_document=False, why=f"{'; '.join(drawn)}, so {_ONCE}")
    if _holds_text(stage):
        why = f"$text needs its own index, which cannot be read in ranges, so {_ONCE}"
        return Verdict(number, name, per_document=False, why=why)
    others = sorted(set(_collections([stage])))
    why = f"one document at a time, with those of {', '.join(others)}" if others else "one document at a time"
    return Verdict(number, name, per_document=True, why=why)


def _holds_text(stage: Stage) -> bool:
    def holds(query: Any) -> bool:
        if isinstance(query, Mapping):
            return "$text" in query or any(holds(query.get(each)) for each in ("$and", "$or", "$nor"))
        return isinstance(query, list | tuple) and any(map(holds, query))

    return holds(stage.get("$match"))


def _collections(stages: Sequence[Stage]) -> Iterator[str]:
    for stage in stages:
        name, body = next(iter(stage.items()))
        if name in {"$lookup", "$graphLookup"} and isinstance(body, Mapping) and "from" in body:
            yield _collection(body["from"])
        elif name == "$unionWith":
            given = body.get("coll") if isinstance(body, Mapping) else body
            if given is not None:
                yield _collection(given)
        for _, inner in inner_pipelines(stage):
            yield from _collections(inner)


def _collection(given: Any) -> str:
    if isinstance(given, Mapping):
        return ".".join(str(given[key]) for key in ("db", "coll") if key in given)
    return str(given)


def _leading_match(stages: Sequence[Stage]) -> Mapping[str, Any] | None:
    """The matches that hold for the documents as they are stored, in one query."""
    found: list[Mapping[str, Any]] = []
    changed: list[str] = []
    for stage in stages:
        query = stage.get("$match")
        if isinstance(query, Mapping):
            fields = asked(query)
            if chances(stage) or (changed and fields is None):
                break
            if not any(overlap(one, other) for one in changed for other in fields or ()):
                found.append(query)
            continue
        more = written(stage) if looks_at_one(stage) else None
        if more is None or chances(stage):
            break
        changed += more
    found = [query for query in found if query]
    if len(found) < 2:
        return found[0] if found else None
    return {"$and": found}
