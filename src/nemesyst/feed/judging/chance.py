"""What a stage holds that gives another answer each time: chance and the clock, in expressions and queries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nemesyst.feed.pipeline import inner_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATORS = {
    "$rand": "draws anew each time",
    "$sampleRate": "draws anew each time",
    "$sample": "draws anew each time",
    "$createObjectId": "makes another one each time",
    "$createUUID": "makes another one each time",
}
_CLOCK = re.compile(r"\$\$(NOW|CLUSTER_TIME)(\.|$)")
_LITERALS = frozenset({"$literal", "$const"})
_LOGICAL = frozenset({"$and", "$or", "$nor"})
_PLAIN = frozenset({"$unset", "$count", "$sort", "$limit", "$skip", "$unwind", "$densify", "$geoNear", "$match"})
"""Stages without expressions outside of a query."""


def chances(stage: Mapping[str, Any]) -> list[str]:
    """What a stage holds that gives another answer each time, as texts, in order; inner pipelines included.

    >>> chances({"$set": {"u": {"$rand": {}}, "name": {"$literal": "$$NOW"}}})
    ['$rand draws anew each time']
    """
    return list(dict.fromkeys(_of_stage(stage)))


def _of_stage(stage: Mapping[str, Any]) -> Iterator[str]:
    name, body = next(iter(stage.items()))
    if name in _OPERATORS:
        yield _said(name)
    yield from _of_queries(name, body)
    yield from _of_expressions(name, body)
    for _, inner in inner_pipelines(stage):
        for each in inner:
            yield from _of_stage(each)


def _of_queries(name: str, body: Any) -> Iterator[str]:
    if name == "$match":
        yield from _in_query(body)
    elif isinstance(body, Mapping):
        yield from _in_query(body.get({"$geoNear": "query", "$graphLookup": "restrictSearchWithMatch"}.get(name, "")))


def _of_expressions(name: str, body: Any) -> Iterator[str]:
    if name in _PLAIN or name in {"$facet", "$unionWith", "$sample"}:
        return
    if name in {"$lookup", "$graphLookup"} and isinstance(body, Mapping):
        body = [body.get("let"), body.get("startWith")]
    yield from _in_expression(body)


def _in_query(query: Any) -> Iterator[str]:
    """Values in a query are literals; only these operators lead to expressions."""
    if not isinstance(query, Mapping):
        return
    for key, value in query.items():
        if key == "$expr":
            yield from _in_expression(value)
        elif key in _LOGICAL and isinstance(value, list | tuple):
            for inner in value:
                yield from _in_query(inner)
        elif key in _OPERATORS:
            yield _said(key)


def _in_expression(value: Any) -> Iterator[str]:
    if isinstance(value, str) and (found := _CLOCK.match(value)):
        yield f"$${found[1]} is another time each time"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _OPERATORS:
                yield _said(key)
            if key not in _LITERALS:
                yield from _in_expression(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _in_expression(inner)


def _said(operator: str) -> str:
    return f"{operator} {_OPERATORS[operator]}"
