"""``nemesyst models``: list, show, promote, rollback."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.command import Session, command, is_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.types import Version

app = typer.Typer(help="Stored models: versions, aliases, promotion.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(metavar="REF", help="Such as air@3, air@champion or 'air[site12]@latest'.")]
Why = Annotated[str | None, typer.Option(help="Reason, for the history.")]


@command(app, "list")
def list_models(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this model, such as air.")] = None,
) -> None:
    """List the versions of all models, or of one."""
    with session.connect(create=False) as hub:
        versions = hub.models.list(name)
    heads = ("version", "aliases", "framework", "size", "created (UTC)", "metrics")
    rows = [
        (v.ref, ", ".join(v.aliases), v.framework, _size(v.size), f"{v.created:%Y-%m-%d %H:%M:%S}", _metrics(v.metrics))
        for v in versions
    ]
    session.result([_json(v) for v in versions], _table(heads, rows) if rows else "there are no models yet")


@command(app, "show")
def show(session: Session, ref: Ref) -> None:
    """Show what is recorded of one version, and the history of an alias."""
    with session.connect(create=False) as hub:
        version = hub.models.get(ref)
        moves = {alias: hub.models.history(f"{version.path}@{alias}") for alias in version.aliases}
    history = [
        f"{alias}: {move.kind} {move.source or '-'} -> {move.target} by {move.who}, {move.when:%Y-%m-%d %H:%M:%S}"
        + (f" ({move.why})" if move.why else "")
        for alias in moves
        for move in moves[alias]
    ]
    facts = {
        "version": version.ref,
        "aliases": ", ".join(version.aliases),
        "framework": version.framework,
        "size": _size(version.size),
        "BLAKE3": version.digest,
        "created": f"{version.created:%Y-%m-%d %H:%M:%S} UTC",
        "node": version.node,
        "environment": _pairs(version.environment),
        "metrics": _metrics(version.metrics),
        "build": version.build,
        "arguments": _pairs(version.args),
        "learner": _pairs(version.learner or {}),
        "rows": ", ".join(f"{part} {count:,}" for part, count in version.rows.items()),
        "parent": version.parent,
        "feed": json.dumps(_told(version.feed), indent=2) if version.feed else "",
        "history": "\n".join(history),
    }
    rows = [(name, str(value)) for name, value in facts.items() if value]
    value = {**_json(version), "history": {alias: [asdict(move) for move in made] for alias, made in moves.items()}}
    session.result(value, _table(("", ""), rows))


@command(app, "promote")
def promote(
    session: Session,
    ref: Ref,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as champion.")],
    why: Why = None,
) -> None:
    """Let an alias mean this version from now on."""
    with session.connect(create=False) as hub:
        version = hub.models.promote(ref, alias, why=why)
    session.result(_json(version), f"{version.path}@{alias} is now version {version.number}")


@command(app, "rollback")
def rollback(
    session: Session,
    ref: Annotated[str, typer.Argument(metavar="REF", help="An alias, such as air@champion.")],
    why: Why = None,
) -> None:
    """Let an alias mean again what it meant before its last promotion."""
    with session.connect(create=False) as hub:
        version = hub.models.rollback(ref, why=why)
    session.result(_json(version), f"{ref} is again version {version.number}")


def _json(version: Version) -> dict[str, Any]:
    metrics = {name: None if math.isnan(value) else value for name, value in version.metrics.items()}
    return {"ref": version.ref, **asdict(version), "metrics": metrics}  # JSON has no NaN


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _pairs(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items() if value not in (None, [], {}, ""))


def _told(feed: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a feed: all but what is left out."""
    return {name: value for name, value in feed.items() if value not in (None, [], {})}


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: with lines and colours on a terminal, else plain aligned text."""
    if is_terminal(sys.stdout):
        return _rich_table(heads, rows)
    shown = [heads, *rows] if any(heads) else list(rows)
    widths = [max(len(line) for row in shown for line in row[column].split("\n")) for column in range(len(heads))]
    return "\n".join(line for row in shown for line in _aligned(row, widths))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [cell.split("\n") for cell in row]
    height = max(map(len, cells))
    columns = [[*lines, *[""] * (height - len(lines))] for lines in cells]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]


def _rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=None, pad_edge=False, show_header=any(heads), header_style="bold")
    for row in rows:
        table.add_row(Text(row[0], style="bold"), *(Text(cell) for cell in row[1:]))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
