"""Every entity whose candidate beats its champion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nemesyst.database import ObjectId
from nemesyst.errors import FeedError, GateError, NemesystError, SettingsError
from nemesyst.feed import BoundFeed
from nemesyst.models.gates import judged, meant, moved
from nemesyst.models.reference import Reference, check_alias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nemesyst.models.evaluation import Loading
    from nemesyst.models.gates import Gate
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store

Outcome = Literal["promoted", "kept", "refused"]


@dataclass(frozen=True)
class Judgement:
    """What became of one entity.

    Attributes:
        entity: The entity; None: the model without one.
        outcome: ``"promoted"``; ``"kept"``: the candidate is no better, or is the champion already; ``"refused"``: it
            could not be compared.
        why: In a sentence; empty for promoted.
        candidate: Reference of the candidate, None where there is none.
        evidence: Values, interval, samples and digest of the rows; empty unless promoted.
    """

    entity: str | None
    outcome: Outcome
    why: str = ""
    candidate: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Judgements(tuple[Judgement, ...]):
    """What became of each entity; printed, how many of which."""

    __slots__ = ()

    def of(self, outcome: Outcome) -> list[Judgement]:
        """Those with an outcome."""
        return [each for each in self if each.outcome == outcome]

    def __str__(self) -> str:
        lines = [f"{len(self.of(kind)):,} {kind}" for kind in ("promoted", "kept", "refused")]
        shown = [f"  {each.entity}: {each.why}" for each in self.of("refused")[:10]]
        return "\n".join([", ".join(lines), *shown])


@dataclass(frozen=True)
class Bulk:
    """What is asked of every entity.

    Attributes:
        models: The registry.
        store: Where it is.
        gate: What a candidate must show.
        rows_of: Gives the rows of an entity.
        alias: The champions' alias.
        candidate: Alias or ``"latest"``, of the candidates.
        loading: How versions are loaded.
        why: Reason, for the history.
    """

    models: Models
    store: Store
    gate: Gate
    rows_of: Callable[[str | None], BoundFeed]
    alias: str
    candidate: str
    loading: Loading
    why: str | None = None

    def judged(self, name: str, entities: str | Iterable[str] | None) -> Judgements:
        """Promote the candidate of each entity that beats its champion.

        Args:
            name: The model's name.
            entities: Only these; None: all that it has.

        Raises:
            SettingsError: A name does not fit.
        """
        check_alias(self.alias)
        Reference.parse(f"{name}@{self.candidate}")
        return Judgements(self._one(name, entity) for entity in self._entities(name, entities))

    def _entities(self, name: str, wanted: str | Iterable[str] | None) -> list[str | None]:
        if wanted is not None:
            return [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
        found = self.models.query([{"$match": {"name": name}}, {"$group": {"_id": "$entity"}}, {"$sort": {"_id": 1}}])
        if not found:
            self.models.get(name)  # raises, saying which there are
        return [each["_id"] for each in found]

    def _one(self, name: str, entity: str | None) -> Judgement:
        path = name if entity is None else f"{name}[{entity}]"
        ours = None
        try:
            ours = self.models.get(f"{path}@{self.candidate}")
            champion = meant(self.models, f"{path}@{self.alias}")
            if champion is not None and champion.number == ours.number:
                return Judgement(entity, "kept", f"{ours.ref} is the {self.alias} already", ours.ref)
            rival = None if champion is None else champion.ref
            on, alias = self.rows_of(entity), self.alias
            told = judged(self.models, self.store, ours.ref, rival, self.gate, on=on, loading=self.loading, alias=alias)
            moved(self.store, ours, alias, champion, told, self.why)
        except NemesystError as error:  # one entity that cannot be compared must not stop the others
            outcome: Outcome = "kept" if isinstance(error, GateError) else "refused"
            return Judgement(entity, outcome, error.message, None if ours is None else ours.ref)
        return Judgement(entity, "promoted", "", ours.ref, told)


def narrowing(on: Any, field: str | None) -> Callable[[str | None], BoundFeed]:
    """What gives the rows of an entity.

    Args:
        on: A part of a bound feed, which is narrowed to each entity; or a function of the entity that gives one.
        field: Field whose value is the entity; None: the feed's pipeline asks for ``{"$param": "entity"}``.

    Raises:
        SettingsError: It is not known how.
    """
    if isinstance(on, BoundFeed):
        params = on.spec.params or {}
        if field is not None and "entity" in params:
            raise SettingsError(
                f'promote_better: field={field!r}, and the pipeline of the feed asks for {{"$param": "entity"}}, too',
                "Leave field= out; or give a feed of all entities.",
            )
        if field is None and "entity" not in params:
            raise SettingsError(
                "promote_better: it is not known which rows are an entity's",
                'Name the field: field="site"; or let the pipeline ask for {"$param": "entity"}; or give a function.',
            )
        return lambda entity: on if entity is None else _narrowed(on, field, entity)
    if callable(on):
        return on  # type: ignore[no-any-return]  # what it gives is checked when it is used
    raise SettingsError(f"promote_better: on={on!r:.80}", "Give a part of a bound feed, or a function of the entity.")


def _narrowed(on: BoundFeed, field: str | None, entity: str) -> BoundFeed:
    spec = on.spec
    if field is None:
        like = spec.params["entity"]
        forms = [each for each in _forms(entity) if type(each) is type(like)] or [entity]
        narrowed = spec.with_(params={**spec.params, "entity": forms[0]})
    else:
        narrowed = spec.with_(pipeline=[{"$match": {field: {"$in": _forms(entity)}}}, *(spec.pipeline or ())])
    try:
        return on.alike(narrowed.with_(scale=None, weight=None, map=None))
    except FeedError as error:
        raise FeedError(f"entity {entity}: {error.message}", error.remedy) from None


def _forms(entity: str) -> list[Any]:
    """What a field may hold for an entity: its text, and the number or ObjectId that it spells."""
    if ObjectId.is_valid(entity):
        return [entity, ObjectId(entity)]
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", entity):
        return [entity, int(entity)]
    if re.fullmatch(r"-?[0-9]+\.[0-9]+", entity):
        return [entity, float(entity)]
    return [entity]
