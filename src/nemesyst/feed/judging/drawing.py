"""Drawing rows by ``$sample`` at an earlier time.

Where a pipeline begins with ``$sample``, the server jumps to places of the collection by chance. At an earlier time it
lands in what came since, too, and walks on to the next row that was there: with some 100,000 rows that came since it
does not come back for minutes, and the rows at the border are drawn more often than others. Behind any other stage it
reads all rows and draws among them, at about 0.6 µs a row, and each row is as likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_EVERY: dict[str, Any] = {"$match": {"#none": {"$not": {"$type": "minKey"}}}}
"""Lets every document through; the server neither drops it nor finds an index for it."""


def drawn_from_all(stages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The same stages, in which each ``$sample`` reads all rows that it draws from; inner pipelines included.

    >>> [next(iter(stage)) for stage in drawn_from_all([{"$sample": {"size": 3}}])]
    ['$match', '$sample']
    """
    inner = [_inner(stage) for stage in stages]
    return [_EVERY, *inner] if inner and "$sample" in inner[0] else inner


def _inner(stage: Mapping[str, Any]) -> Mapping[str, Any]:
    name, body = next(iter(stage.items()))
    if name not in {"$lookup", "$unionWith"} or not isinstance(body, Mapping):
        return stage
    stages = body.get("pipeline")
    return {name: {**body, "pipeline": drawn_from_all(stages)}} if isinstance(stages, list | tuple) else stage
