"""``nemesyst models``: list, show, promote, rollback, delete, gc, export, import."""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli import models_evaluate, models_replay
from nemesyst.cli.command import Session, command
from nemesyst.cli.table import shown, size_of, table
from nemesyst.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.types import Version

app = typer.Typer(help="Stored models: versions, aliases, promotion.", no_args_is_help=True)
models_evaluate.register(app)
models_replay.register(app)

Ref = Annotated[str, typer.Argument(metavar="REF", help="Such as air@3, air@champion or 'air[site12]@latest'.")]
Refs = Annotated[list[str], typer.Argument(metavar="REF...", help="Such as air@3 'air[site12]@champion'.")]
Target = Annotated[Path, typer.Option("--file", help="File to write; one that is there is replaced.")]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="What nemesyst models export wrote.")]
Why = Annotated[str | None, typer.Option(help="Reason, for the history.")]


@command(app, "list")
def list_models(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this model, such as air.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest; 0: all.", min=0)] = 1000,
) -> None:
    """List the versions of all models, or of one."""
    with session.connect(create=False) as hub:
        versions = _told_of(lambda: hub.models.list(name, limit=limit or None))
    heads = ("version", "aliases", "framework", "size", "created (UTC)", "metrics")
    rows = [
        (
            shown(v.ref),
            ", ".join(v.aliases),
            shown(v.framework),
            size_of(v.size),
            f"{v.created:%Y-%m-%d %H:%M:%S}",
            shown(_metrics(v.metrics)),
        )
        for v in versions
    ]
    more = f"\nthe newest {limit:,} versions; --limit 0 lists all" if len(versions) == limit else ""
    text = table(heads, rows) + more if rows else "there are no models yet"
    session.result(_all_json(versions) if session.json else [], text)


@command(app, "show")
def show(session: Session, ref: Ref) -> None:
    """Show what is recorded of one version, and the history of an alias."""
    with session.connect(create=False) as hub:
        version = hub.models.get(ref)
        moves = {alias: hub.models.history(f"{version.path}@{alias}") for alias in version.aliases}
        origin = hub.models.lineage(version.ref)
    history = [
        f"{alias}: {move.kind} {move.source or '-'} -> {move.target or '-'} by {move.who}, "
        f"{move.when:%Y-%m-%d %H:%M:%S}{f' ({move.why})' if move.why else ''}"
        for alias in moves
        for move in moves[alias]
    ]
    rows = [(name, str(value)) for name, value in _facts(version).items() if value]
    rows += [(name, text) for name, text in (("history", "\n".join(history)), ("came from", str(origin))) if text]
    rows = [(name, shown(text)) for name, text in rows]
    value = {**_json(version), "history": {alias: [asdict(move) for move in made] for alias, made in moves.items()}}
    session.result({**value, "origin": origin.as_dict()}, table(("", ""), rows))


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


@command(app, "delete")
def delete(
    session: Session,
    refs: Refs,
    aliases: Annotated[bool, typer.Option("--aliases", help="Also versions that have aliases.")] = False,
    why: Why = None,
) -> None:
    """Delete versions; their numbers are not given again, and gc frees their bytes."""
    with session.connect(create=False) as hub:
        gone = hub.models.delete(refs, aliases=aliases, why=why)
    session.result([version.ref for version in gone], f"deleted {', '.join(version.ref for version in gone)}")


@command(app, "gc")
def gc(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be freed.")] = False,
    hours: Annotated[float, typer.Option(help="Leave alone what was written in so many hours.", min=0)] = 1.0,
    days: Annotated[
        float, typer.Option(help="Plans of feeds and checkpoints that were not used for so many days go.", min=0.1)
    ] = 30.0,
) -> None:
    """Free what is of no more use: bytes of deleted versions, of savers that died, old plans and checkpoints."""
    older_than, plans = _span("--hours", hours, 3600), _span("--days", days, 86400)
    with session.connect(create=False) as hub:
        found = hub.models.gc(dry_run=dry_run, older_than=older_than, plans=plans)
    counts = [
        f"{found.blobs:,} blobs that nothing names",
        f"{found.pending:,} of savers that died",
        f"{found.parts:,} loose parts",
        f"{found.plans.get('plans', 0):,} plans of feeds",
        f"{found.checkpoints:,} checkpoints",
    ]
    verb = "would free" if dry_run else "freed"
    session.result(found, f"{verb} {size_of(found.size + found.plans.get('bytes', 0))}: {', '.join(counts)}")


@command(app, "export")
def export(session: Session, refs: Refs, file: Target) -> None:
    """Write versions into one verified file, for another database."""
    with session.connect(create=False) as hub:
        found = hub.models.export(refs, file)
    session.result(found, f"{found.path}: {', '.join(found.refs)}, {size_of(found.size)}")


@command(app, "import")
def import_models(
    session: Session,
    file: Source,
    keep_numbers: Annotated[
        bool, typer.Option("--keep-numbers", help="Keep the numbers; refused where one was given before.")
    ] = False,
    aliases: Annotated[bool, typer.Option("--aliases", help="Move the aliases to them, too.")] = False,
) -> None:
    """Store the versions of a file that export wrote."""
    with session.connect() as hub:
        versions = hub.models.import_(file, numbers="keep" if keep_numbers else "next", aliases=aliases)
    lines = [f"{version.ref}, which was {(version.imported or {}).get('ref')}" for version in versions]
    session.result([_json(version) for version in versions], "\n".join(lines))


def _told_of(find: Callable[[], list[Version]]) -> list[Version]:
    """What was found; warnings about it go to standard error, each on a line."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = find()
    for each in warned:
        print(f"warning: {shown(str(each.message))}", file=sys.stderr)
    return found


def _all_json(versions: Sequence[Version]) -> list[dict[str, Any]]:
    """Versions as JSON values, but those whose lineage is damaged."""
    found = []
    for version in versions:
        try:
            found.append(_json(version))
        except ModelError as error:
            print(f"warning: left out of the list: {shown(error.message)}", file=sys.stderr)
    return found


def _span(option: str, number: float, unit: int) -> timedelta:
    try:
        return timedelta(seconds=number * unit)
    except (OverflowError, ValueError):
        raise SettingsError(f"{option} {number} is no length of time", "Give at most 100 years.") from None


def _facts(version: Version) -> dict[str, Any]:
    """What is recorded of a version, for people."""
    also = [f"{name} {size_of(stored.size)}" for name, stored in version.contents.items() if name != "model"]
    seconds = "" if version.seconds is None else f"{version.seconds:,.1f} s"
    return {
        "version": version.ref,
        "purpose": version.text,
        "aliases": ", ".join(version.aliases),
        "framework": version.framework,
        "size": size_of(version.size),
        "BLAKE3": version.digest,
        "also stored": ", ".join(also),
        "created": f"{version.created:%Y-%m-%d %H:%M:%S} UTC",
        "imported": _pairs(version.imported or {}),
        "node": version.node,
        "environment": _pairs({**version.environment, "packages": _listed(version.environment.get("packages"))}),
        "metrics": _metrics(version.metrics),
        "tags": _pairs(version.tags),
        "architecture": version.architecture,
        "build": version.build,
        "arguments": _pairs(version.args),
        "learner": _pairs(version.learner or {}),
        "training": seconds,
        "rows": ", ".join(f"{part} {count:,}" for part, count in version.rows.items()),
        "parent": version.parent,
        "feed": json.dumps(_told(version.feed), indent=2) if version.feed else "",
    }


def _json(version: Version) -> dict[str, Any]:
    fields = asdict(version)
    del fields["lineage_text"]
    return {
        "ref": version.ref,
        **fields,
        "metrics": {name: None if math.isnan(value) else value for name, value in version.metrics.items()},  # no NaN
        "contents": {name: stored._asdict() for name, stored in version.contents.items()},
        "lineage": version.lineage,
    }


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _listed(packages: Any) -> str:
    return ", ".join(f"{name} {number}" for name, number in (packages or {}).items())


def _pairs(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items() if value not in (None, [], {}, ""))


def _told(feed: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a feed: all but what is left out."""
    return {name: value for name, value in feed.items() if value not in (None, [], {})}
