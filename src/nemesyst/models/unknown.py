"""What to say about a reference that means nothing: what there is near it, by a few steps through an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import UnknownModelError, nearest
from nemesyst.models.catalogue import OURS, at

if TYPE_CHECKING:
    from nemesyst.models.catalogue import Catalogue
    from nemesyst.models.reference import Reference

_STEPS = 25
"""Distinct values that are looked at in each direction."""


def unknown(catalogue: Catalogue, ref: Reference, session: Any = None) -> UnknownModelError:
    """The error of a reference: says which names, entities, versions or aliases there are near it."""
    versions = catalogue.versions
    if versions.find_one({**OURS, "name": ref.name}, {"_id": 1}, session=session) is None:
        names = _near(catalogue, {}, "name", ref.name, session)
        return UnknownModelError(
            f"no model is called {ref.name!r}: {nearest(ref.name, names)}", "See: nemesyst models list"
        )
    here = versions.find_one({**OURS, **at(ref)}, {"_id": 1}, sort=[("number", -1)], session=session)
    if here is None and not isinstance(ref.selector, int):
        return _no_entity(catalogue, ref, session)
    if isinstance(ref.selector, int):
        return _no_number(catalogue, ref, session) if here is not None else _no_entity(catalogue, ref, session)
    found = catalogue.aliases.find({**at(ref), "alias": {"$gte": ""}}, limit=_STEPS, session=session)
    known = nearest(str(ref.selector), [each["alias"] for each in found if each["number"] is not None])
    return UnknownModelError(
        f"{ref.path} has no alias {ref.selector!r}: {known}", f"See: nemesyst models list '{ref.path}'"
    )


def _no_entity(catalogue: Catalogue, ref: Reference, session: Any) -> UnknownModelError:
    entities = _near(catalogue, {"name": ref.name}, "entity", ref.entity or "", session)
    if catalogue.versions.find_one({**OURS, "name": ref.name, "entity": None}, {"_id": 1}, session=session):
        entities.append("without an entity")
    what = f"entity {ref.entity!r}" if ref.entity is not None else "version without an entity"
    return UnknownModelError(
        f"the model {ref.name!r} has no {what}: {nearest(ref.entity or '', entities)}",
        f"See: nemesyst models list {ref.name}",
    )


def _no_number(catalogue: Catalogue, ref: Reference, session: Any) -> UnknownModelError:
    remedy = f"See: nemesyst models list '{ref.path}'"
    gone = catalogue.tombstones.find_one({**at(ref), "number": ref.selector}, session=session)
    if gone is not None:
        why = f" ({gone['why']})" if gone.get("why") else ""
        return UnknownModelError(f"{ref} was deleted by {gone.get('who')}, {gone.get('deleted'):%Y-%m-%d}{why}", remedy)
    newest = catalogue.versions.find(
        {**OURS, **at(ref)}, {"number": 1}, sort=[("number", -1)], limit=10, session=session
    )
    numbers = ", ".join(str(each["number"]) for each in newest)
    return UnknownModelError(f"{ref.path} has no version {ref.selector}; newest: {numbers}", remedy)


def _near(catalogue: Catalogue, fixed: dict[str, Any], field: str, given: str, session: Any) -> list[str]:
    """Distinct texts of a field next to a given one, and the first ones of all."""
    found: set[str] = set()
    for begin, compare, order in ((given, "$gte", 1), (given, "$lt", -1), ("", "$gte", 1)):
        value, limit = begin, compare
        for _ in range(_STEPS):
            query = {**fixed, field: {limit: value}}
            fields = [*dict.fromkeys([*fixed, field])]
            sort = [(each, order) for each in (*fields, *(["entity"] if field == "name" else []))]
            step = catalogue.versions.find_one(query, {field: 1, "_id": 0}, sort=sort, session=session)
            if step is None or not isinstance(step.get(field), str):
                break
            value, limit = step[field], "$gt" if order > 0 else "$lt"
            found.add(value)
    return sorted(found)
