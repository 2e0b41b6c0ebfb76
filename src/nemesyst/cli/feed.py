"""``nemesyst feed``: what a feed gives, before a script is written for it."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - Typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.command import Session, command
from nemesyst.cli.progress import progress

if TYPE_CHECKING:
    from nemesyst.types import Batch

_PARAM = "Parameter of it: a number, true, false, a date or a text; or JSON, such as 'units=[1, 2]'."

Fields = Annotated[str | None, typer.Option(help="Fields, such as air,power.", metavar="FIELDS")]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "feed")(feed)


def feed(  # noqa: PLR0913, PLR0917 - the options of the command
    session: Session,
    collection: Annotated[str, typer.Argument(help="Where the rows are.")],
    pipeline: Annotated[Path | None, typer.Option(help="JSON file with aggregation stages.")] = None,
    param: Annotated[list[str] | None, typer.Option(help=_PARAM, metavar="NAME=VALUE")] = None,
    inputs: Fields = None,
    targets: Fields = None,
    missing: Annotated[str, typer.Option(help="For missing values: error, nan, drop, or a number.")] = "error",
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.", min=1)] = 256,
    as_of: Annotated[str | None, typer.Option(help="The rows of that moment.", metavar="TIME")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell how it would be read, and read nothing.")] = False,
) -> None:
    """Read one epoch of a feed, and show its arrays, rows and rate."""
    from nemesyst.feed import parameter  # here: other commands need none of it

    params = dict(map(parameter, param or ()))
    with session.connect(create=False) as hub:
        if explain:
            found = hub.explain(collection, pipeline=pipeline, params=params)
            session.result(found.as_dict(), "\n".join(found.lines()))
            return
        bound = hub.feed(
            collection,
            pipeline=pipeline,
            params=params,
            inputs=_fields(inputs),
            targets=_fields(targets),
            missing=_choice(missing),
            batch_size=batch_size,
            as_of=as_of,
            cache=False,
        )
        start, rows, first = time.monotonic(), 0, None
        with progress(session, "reading", bound.estimate(), "rows") as bar:
            for batch in bound:
                first = first or _shown(batch)
                rows += len(next(iter(batch.values())))
                bar.update(rows)
        seconds = time.monotonic() - start
    lines = [f"{name:<12}{array['dtype']:<16}{array['shape']}" for name, array in (first or {}).items()]
    lines.append(f"{rows:,} rows in {seconds:.2f} s, {rows / max(seconds, 1e-9):,.0f} rows/s")
    session.result({"rows": rows, "seconds": seconds, "arrays": first or {}}, "\n".join(lines))


def _shown(batch: Batch) -> dict[str, Any]:
    return {
        name: {"dtype": str(values.dtype), "shape": f"({', '.join(['rows', *map(str, values.shape[1:])])})"}
        for name, values in batch.items()
    }


def _fields(text: str | None) -> list[str] | None:
    return None if text is None else [field.strip() for field in text.split(",")]


def _choice(text: str) -> str | float:
    try:
        return text if text == "nan" else float(text)
    except ValueError:
        return text
