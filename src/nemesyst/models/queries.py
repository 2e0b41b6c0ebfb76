"""Finding versions by what is recorded of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemesyst.errors import ModelError, SettingsError, nearest
from nemesyst.feed import load_pipeline
from nemesyst.models.arguments import check_args, check_text
from nemesyst.models.catalogue import OURS
from nemesyst.models.records import HEAVY, Document, version_of
from nemesyst.models.reference import Reference
from nemesyst.models.unknown import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemesyst.models.catalogue import Catalogue
    from nemesyst.types import Version

_WHOLE = {"$match", "$sort", "$skip", "$limit"}
"""Stages that choose documents and use indexes: the weights are left out behind them."""

_COMPARE = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "==": "$eq"}


class DamagedRecordWarning(UserWarning):
    """Records that somebody has edited; they are left out of a list."""


def find(catalogue: Catalogue, name: str | None, wanted: Document, limit: int | None, *, newest: bool) -> list[Version]:
    """Records that match, by name, entity and number, or the newest first; damaged ones are left out with a warning.

    Args:
        catalogue: Where they are.
        name: A name, with or without an entity, or None.
        wanted: Conditions, as :func:`conditions` makes them.
        limit: At most so many; the newest ones.
        newest: Whether they come newest first.

    Raises:
        SettingsError: The limit is no number from 1.
        UnknownModelError: No model is called so.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit < 2**31):
        raise SettingsError(f"limit={limit!r}", "Give a whole number from 1, or None.")
    target = None if name is None else Reference.parse_target(name)
    own: Document = {}
    if target is not None:
        own = {"name": target.name} | ({} if target.entity is None else {"entity": target.entity})
    one = target is not None and target.entity is not None
    sort = None if limit is None else [("number" if one else "created", -1)]
    cursor = catalogue.versions.find({**OURS, **wanted, **own}, HEAVY, sort=sort, limit=limit or 0)
    found = list(_readable(cursor))
    if target is not None and not found and catalogue.versions.find_one({**OURS, **own}, {"_id": 1}) is None:
        raise unknown(catalogue, target)
    if newest:
        return sorted(found, key=lambda each: (each.created, each.number), reverse=True)
    return sorted(found, key=lambda each: (each.name, each.entity or "", each.number))


def _readable(documents: Iterable[Document]) -> Iterator[Version]:
    """Those versions whose records are whole; one warning tells of the others."""
    damaged = []
    for document in documents:
        try:
            yield version_of(document)
        except ModelError as error:
            damaged.append(error.message)
    if damaged:
        more = f" (and {len(damaged) - 1:,} others)" if len(damaged) > 1 else ""
        warnings.warn(f"left out of the list: {damaged[0]}{more}", DamagedRecordWarning, stacklevel=4)


def conditions(
    where: Mapping[str, Any] | None,
    tags: Mapping[str, Any] | None,
    since: datetime | str | None,
    until: datetime | str | None,
    entity: str | None,
) -> Document:
    """The query of conditions on metrics, tags, time and entity.

    Raises:
        SettingsError: A condition cannot be understood; names it.
    """
    facts = [_fact(f"metric {name}", _compared(name, value)) for name, value in _named("where", where)]
    facts += [_fact(f"tag {name}", {"$eq": value}) for name, value in _named("tags", tags)]
    times = {"$gte": _time("since", since), "$lt": _time("until", until)}
    given = {operator: value for operator, value in times.items() if value is not None}
    found: Document = {"facts": facts[0]} if len(facts) == 1 else {"$and": [{"facts": each} for each in facts]}
    found = found if facts else {}
    check_text("entity", entity)
    return found | ({"created": given} if given else {}) | ({"entity": entity} if entity is not None else {})


def _fact(name: str, condition: Document) -> Document:
    return {"$elemMatch": {"k": name, "v": condition}}


def _named(field: str, given: Any) -> Iterator[tuple[str, Any]]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise SettingsError(f"{field}={given!r} is not a dict", f"Write {field}={{'name': value}}.")
    if field == "tags":
        given = check_args(given, "tags")
    for name in given:
        check_text(f"{field}: a name", name)
    yield from given.items()


def _compared(name: str, given: Any) -> Document:
    """A condition on a metric: a number, or numbers by operator."""
    asked = given if isinstance(given, Mapping) else {"==": given}
    found: Document = {}
    for operator, value in asked.items():
        if operator not in _COMPARE:
            raise SettingsError(f"where[{name!r}]: {operator!r} compares nothing", nearest(str(operator), [*_COMPARE]))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingsError(f"where[{name!r}]: {value!r} is no number", f"Write {{{operator!r}: 0.3}}.")
        found[_COMPARE[operator]] = float(value)
    return found


def _time(field: str, given: datetime | str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise SettingsError(
            f"{field}={given!r} is no time", "Give a datetime or ISO text; without a zone it is UTC."
        ) from None


def aggregate(catalogue: Catalogue, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Run a reading pipeline over the records, without the weights.

    Raises:
        PipelineError: A stage is malformed, unknown, or writes or runs code.
    """
    stages = load_pipeline(pipeline, "query")
    first = next((n for n, stage in enumerate(stages) if next(iter(stage)) not in _WHOLE), len(stages))
    leave_out = {"$unset": list(HEAVY)}
    return list(catalogue.versions.aggregate([*stages[:first], leave_out, *stages[first:]], allowDiskUse=True))


def names(catalogue: Catalogue) -> list[str]:
    """The names of all models, in order."""
    by_name: list[Document] = [{"$sort": {"name": 1, "entity": 1, "number": -1}}, {"$group": {"_id": "$name"}}]
    return sorted(each["_id"] for each in catalogue.versions.aggregate(by_name) if isinstance(each["_id"], str))
