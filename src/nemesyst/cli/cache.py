"""``nemesyst cache``: the decoded rows and verified models that this node keeps on its disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nemesyst.cli.command import Session, command
from nemesyst.cli.table import size_of, table
from nemesyst.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.database import NodeCache
    from nemesyst.feed import cache

app = typer.Typer(help="Decoded rows and verified models that this node keeps: list, clear.", no_args_is_help=True)

_SHORT = 12
"""Digits of a key that are shown."""


@command(app, "list")
def list_entries(session: Session) -> None:
    """List the feeds whose decoded rows are kept on this node, the last used first."""
    kept = _cache(session)
    found = kept.entries()
    heads = ("key", "collection", "rows", "chunks", "size", "last used (UTC)", "in use")
    rows = [
        (
            entry.key[:_SHORT],
            str(entry.about.get("collection", "")),
            f"{entry.rows:,}",
            f"{entry.chunks:,}",
            size_of(entry.size),
            f"{entry.used:%Y-%m-%d %H:%M:%S}",
            "yes" if entry.in_use else "",
        )
        for entry in found
    ]
    total = (
        f"{size_of(sum(entry.size for entry in found))} of at most {session.settings.cache_size:g} GB in {kept.folder}"
    )
    lines = [f"{table(heads, rows)}\n{total}" if rows else f"no rows are kept in {kept.folder}"]
    models = _models(session).files()
    if models:
        lines.append(f"{len(models):,} contents of models, {size_of(sum(size for _, size, _ in models))}")
    session.result(found, "\n".join(lines))


@command(app, "clear")
def clear(
    session: Session,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Only these: the beginnings of their keys.")
    ] = None,
) -> None:
    """Delete decoded rows that no process uses, and without a KEY verified models, too; both can be had again."""
    kept = _cache(session)
    before = kept.entries()
    chosen = [entry.key for entry in before] if not keys else _chosen(keys, before)
    freed = kept.clear(chosen)
    left = [entry for entry in kept.entries() if entry.key in chosen]
    if not keys:
        freed += _models(session).clear()
    lines = [f"freed {size_of(freed)} in {kept.folder}"]
    lines += [
        f"  {entry.key[:_SHORT]} {entry.about.get('collection', '')} is in use, {size_of(entry.size)}: it stays"
        for entry in left
    ]
    session.result({"freed": freed, "in_use": [entry.key for entry in left]}, "\n".join(lines))


def _cache(session: Session) -> cache.Cache:
    from nemesyst.feed import cache  # here: other commands need none of it

    return cache.Cache.of(session.settings)


def _models(session: Session) -> NodeCache:
    from nemesyst.database import NodeCache

    return NodeCache.of(session.settings)


def _chosen(beginnings: Sequence[str], entries: Sequence[cache.EntryInfo]) -> list[str]:
    """Keys of the entries that the command names.

    Raises:
        SettingsError: A beginning is no entry's.
    """
    keys = [entry.key for entry in entries]
    for beginning in beginnings:
        if not beginning or not any(key.startswith(beginning) for key in keys):
            known = nearest(beginning, [key[:_SHORT] for key in keys])
            raise SettingsError(f"no rows are kept under {beginning!r}; {known}", "See: nemesyst cache list")
    return [key for key in keys if key.startswith(tuple(beginnings))]
