"""``nemesyst models replay``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nemesyst.cli.command import Session, command

Ref = Annotated[str, typer.Argument(metavar="REF", help="Such as air@3 or air@champion.")]
Script = Annotated[Path | None, typer.Option(help="File with the learner; default: the one in the record.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Train although rows or code are others, and compare.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "replay")(replay)


def replay(session: Session, ref: Ref, script: Script = None, anyway: Anyway = False) -> None:
    """Train a version again from its rows and code, and compare the weights."""
    from nemesyst.stages import replay as again  # here: the name is the command's, too

    with session.connect(create=False) as hub:
        found = again(hub, ref, script=script, anyway=anyway)
    session.result({**asdict(found), "same": found.same}, str(found))
    if not found.same:
        raise SystemExit(1)
