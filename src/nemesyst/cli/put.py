"""``nemesyst put``: files into a collection."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path  # noqa: TC003 - Typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nemesyst.cli.command import Session, command
from nemesyst.cli.progress import progress
from nemesyst.errors import RecordError, SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.database import Row, Source
    from nemesyst.types import PutReport

_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "date": datetime, "str": str, "bytes": bytes}
OnConflict = Literal["keep", "replace", "error"]
_IN_CSV = {"int", "float", "bool", "date", "str"}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "put")(put)


def put(  # noqa: PLR0917 - the options of the command
    session: Session,
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines (both also .gz), Parquet or Arrow files.")],
    into: Annotated[str, typer.Option(help="Collection that the rows go to.")],
    key: Annotated[str | None, typer.Option(help="Fields that make a row unique, such as unit,t.")] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            help="Types that fields must have: field=type,... of int, float, bool, date, str, bytes, array; "
            "a type with ? may be missing or null."
        ),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field that every row gets, such as device=fridge."),
    ] = None,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="For a row whose key is there: keep it, replace it, or stop with an error.")
    ] = "keep",
) -> None:
    """Store the rows of files; those that cannot be stored go to COLLECTION.rejected with the reason and the line."""
    from nemesyst.database import open_source

    types = parse_schema(schema)
    added = dict(_assigned(text) for text in assign or ())
    fields = None if key is None else [field.strip() for field in key.split(",")]
    sources = [open_source(path) for path in files]
    for source in sources:
        _declare(source, types)
        _check_key(source, fields or (), added)
        session.say(f"{source.name}: {_shown(source)}")
    rows = itertools.chain.from_iterable(sources)
    with session.connect() as hub, progress(session, "reading", sum(s.size for s in sources), "bytes") as bar:

        def tell(rows: int, _size: int) -> None:
            bar.update(sum(source.read for source in sources), f"{rows:,} rows")

        report = hub.put(
            into,
            (_with(row, added) for row in rows) if added else rows,
            key=fields,
            on_conflict=on_conflict,
            schema={name: kind for name, (_, kind) in types.items()} or None,
            progress=tell,
        )
        tell(report.total, 0)
    session.result(report, summary(report))
    if report.rejected and report.rejected == report.total:
        raise typer.Exit(1)


def _assigned(text: str) -> tuple[str, Any]:
    """Read ``field=value``: a whole number, a number, true or false, a date of ISO 8601, else text."""
    from nemesyst.database import parse_cell

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--set {text}: expected FIELD=VALUE", "Such as --set device=fridge.")
    return name, parse_cell(value)


def _with(row: Row, added: dict[str, Any]) -> Row:
    return row._replace(record={**row.record, **added}) if isinstance(row.record, dict) else row


def _check_key(source: Source, fields: Sequence[str], added: dict[str, Any]) -> None:
    """Find out before a row is stored that a key field is in none of them."""
    for field in fields:
        if source.fields and field not in source.fields and field not in added:
            raise RecordError(
                f"{source.name}: there is no field {field!r} for the key", nearest(field, list(source.fields))
            )


def parse_schema(text: str | None) -> dict[str, tuple[str, Any]]:
    """Read ``field=type,...`` as names, names of types, and Python types.

    Raises:
        SettingsError: A part has another form, or a type is unknown.
    """
    found: dict[str, tuple[str, Any]] = {}
    for part in text.split(",") if text else ():
        field, equals, name = (piece.strip() for piece in part.partition("="))
        base = name.removesuffix("?")
        if not field or not equals:
            raise SettingsError(
                f"--schema: {part.strip()!r} is not field=type", "Such as --schema air=float,door=bool?"
            )
        found[field] = (base, _type(base) | None if name.endswith("?") else _type(base))
    return found


def _type(name: str) -> Any:
    if name == "array":
        import numpy as np

        return np.ndarray
    if name not in _TYPES:
        raise SettingsError(f"--schema: {name!r} is no type", nearest(name, [*_TYPES, "array"]))
    return _TYPES[name]


def _declare(source: Source, types: dict[str, tuple[str, Any]]) -> None:
    """Let the given types lead where a file has none of its own; a field that a file lacks is told now."""
    if not source.fields:
        return
    for field, (name, kind) in types.items():
        if field not in source.fields:
            if type(None) in getattr(kind, "__args__", ()):
                continue
            raise RecordError(f"{source.name}: there is no field {field!r}", nearest(field, list(source.fields)))
        if source.format == "csv":
            if name not in _IN_CSV:
                raise SettingsError(
                    f"--schema: {field}={name}: a CSV file has no {name}", "Use str, or another format."
                )
            source.fields[field] = name


def _shown(source: Source) -> str:
    if not source.fields:
        return "one JSON object per line"
    return ", ".join(f"{name} {kind}" for name, kind in source.fields.items())


def summary(report: PutReport) -> str:
    """What became of the rows, for a person."""
    counts = [f"{report.stored:,} stored"]
    counts += [f"{report.unchanged:,} not stored again (a row with their key was there)"] if report.unchanged else []
    counts += [f"{report.replaced:,} replaced"] if report.replaced else []
    counts += [f"{report.rejected:,} rejected"] if report.rejected else []
    lines = [f"{report.collection}: {', '.join(counts)}, in {report.seconds:.1f} s"]
    if report.rejected:
        lines.append(f"The rejected ones are in {report.collection}.rejected:")
        lines += [f"  {count:,} x {reason}" for reason, count in sorted(report.reasons.items(), key=lambda r: -r[1])]
    return "\n".join(lines)
