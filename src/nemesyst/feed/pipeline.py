"""Aggregation pipelines: read from code or a JSON file, filled with parameters, checked before any work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bson import json_util
from bson.errors import BSONError

from nemesyst.errors import PipelineError, nearest

Stage = Mapping[str, Any]

PER_DOCUMENT = frozenset({
    "$match", "$project", "$set", "$addFields", "$unset", "$replaceRoot", "$replaceWith", "$unwind", "$redact",
    "$lookup", "$graphLookup",
})  # fmt: skip
"""Stages that look at one document at a time, so that rows stay in the order in which they are read."""

ACROSS_DOCUMENTS = frozenset({
    "$group", "$bucket", "$bucketAuto", "$sortByCount", "$count", "$sort", "$limit", "$skip", "$setWindowFields",
    "$densify", "$fill", "$facet", "$unionWith", "$sample", "$geoNear", "$documents",
})  # fmt: skip

FORBIDDEN = {
    "$out": "writes",
    "$merge": "writes",
    "$function": "runs code",
    "$accumulator": "runs code",
    "$where": "runs code",
}


def load_pipeline(source: str | Path | Sequence[Stage] | None, what: str = "pipeline") -> tuple[Stage, ...]:
    """Read a pipeline (stages, or the path of a JSON file) and check its shape.

    Args:
        source: Stages, or a path.
        what: What to call stages that come from no file, in messages.

    Raises:
        PipelineError: The file cannot be read or is not JSON; a stage is malformed, unknown or forbidden.
    """
    if source is None:
        return ()
    where = str(source) if isinstance(source, str | Path) else what
    stages = _read(Path(source)) if isinstance(source, str | Path) else source
    if not isinstance(stages, list | tuple):
        raise PipelineError(
            f"{where}: expected a list of stages, got {type(stages).__name__}", 'Write [{"$match": {...}}, ...].'
        )
    try:
        for number, stage in enumerate(stages):
            _check_stage(stage, f"{where}, stage {number}")
    except RecursionError:
        raise PipelineError(f"{where}: it is nested too deeply, or holds itself", "Write it flatter.") from None
    return tuple(stages)


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"pipeline file {path} cannot be read: {error}", "Check the path.") from None
    try:
        return json.loads(text, object_hook=json_util.object_hook)
    except json.JSONDecodeError as error:
        raise PipelineError(
            f"pipeline file {path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            "Names and texts take double quotes; there is no comma after the last item.",
        ) from None
    except RecursionError:
        raise PipelineError(f"pipeline file {path} is nested too deeply", "Write it flatter.") from None
    except (BSONError, TypeError, ValueError, ArithmeticError) as error:  # extended JSON such as {"$oid": "x"}
        raise PipelineError(
            f"pipeline file {path} holds a value that is not extended JSON: {type(error).__name__} {error}",
            "Such as {'$date': '2024-01-01T00:00:00Z'}.",
        ) from None


def _check_stage(stage: object, where: str) -> None:
    if not isinstance(stage, Mapping) or len(stage) != 1:
        raise PipelineError(
            f"{where}: expected an object with one key, such as {{'$match': ...}}; got {stage!r:.100}",
            "Give each stage an object of its own.",
        )
    name = next(iter(stage))
    for operator in _operators(stage):
        if operator in FORBIDDEN:
            raise PipelineError(
                f"{where}: {operator} is not allowed: it {FORBIDDEN[operator]}", "A feed only reads; remove it."
            )
    known = PER_DOCUMENT | ACROSS_DOCUMENTS
    if name not in known:
        raise PipelineError(f"{where}: unknown stage {name!r}", f"{nearest(str(name), sorted(known))}")
    for place, inner in inner_pipelines(stage):
        for number, inner_stage in enumerate(inner):
            _check_stage(inner_stage, f"{where} {place}, inner stage {number}")


def _operators(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key).startswith("$"):
                yield str(key)
            yield from _operators(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _operators(inner)


def inner_pipelines(stage: Mapping[str, Any]) -> list[tuple[str, Sequence[Stage]]]:
    """The pipelines that a stage holds, each with the words that say where.

    >>> inner_pipelines({"$lookup": {"from": "sites", "pipeline": [{"$limit": 1}], "as": "site"}})
    [('$lookup', [{'$limit': 1}])]
    """
    name, body = next(iter(stage.items()))
    if not isinstance(body, Mapping):
        return []
    if name == "$facet":
        found = {f"$facet {facet}": inner for facet, inner in body.items()}
    else:
        found = {name: body.get("pipeline")} if name in ("$lookup", "$unionWith") else {}
    return [(place, inner) for place, inner in found.items() if isinstance(inner, list | tuple)]


def fill(value: Any, params: Mapping[str, Any]) -> Any:
    """Put the parameters in: each ``{"$param": name}`` becomes ``params[name]``.

    Raises:
        PipelineError: A parameter has no value, or one that writes or runs code.

    >>> fill([{"$match": {"site": {"$param": "site"}}}], {"site": 12})
    [{'$match': {'site': 12}}]
    """
    if isinstance(value, Mapping):
        if set(value) == {"$param"}:
            return _parameter(value["$param"], params)
        return {key: fill(inner, params) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, params) for inner in value]
    return value


def _parameter(name: Any, params: Mapping[str, Any]) -> Any:
    if name not in params:
        raise PipelineError(f"pipeline: parameter {name!r} has no value", f"Give params={{{name!r}: ...}}.")
    for operator in _operators(params[name]):
        if operator in FORBIDDEN:
            raise PipelineError(
                f"pipeline: parameter {name!r} holds {operator}, which is not allowed: it {FORBIDDEN[operator]}",
                "A feed only reads; give it another value.",
            )
    return params[name]


def keeps_order(stages: Sequence[Stage]) -> bool:
    """Whether rows leave the stages in the order in which documents enter them."""
    return all(looks_at_one(stage) for stage in stages)


def looks_at_one(stage: Stage) -> bool:
    """Whether a stage looks at one document at a time: by its name, and ``$fill`` by what it fills with."""
    name, body = next(iter(stage.items()))
    if name != "$fill" or not isinstance(body, Mapping):
        return name in PER_DOCUMENT
    fills = body.get("output")
    values = fills.values() if isinstance(fills, Mapping) else ()
    return set(body) == {"output"} and all(isinstance(each, Mapping) and set(each) == {"value"} for each in values)
