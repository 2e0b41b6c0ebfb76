"""The ``nemesyst`` command."""

from __future__ import annotations

import json
import signal
import sys
from typing import NoReturn

import typer

from nemesyst.cli import db, models, put, stages
from nemesyst.errors import NemesystError

TERMINATED = 143

app = typer.Typer(
    name="nemesyst",
    help="Deep learning straight from your database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(db.app, name="db")
stages.register(app)
put.register(app)
app.add_typer(models.app, name="models")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 not understood, 130 interrupted, 143 terminated."""
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(arguments)
    except NemesystError as error:
        fail(error, as_json="--json" in arguments)
    except BrokenPipeError:  # the reader of our output has gone (nemesyst ... | head)
        sys.stderr.close()
        sys.exit(1)


def _terminated(*_: object) -> NoReturn:
    sys.exit(TERMINATED)


def fail(error: NemesystError, *, as_json: bool) -> NoReturn:
    """Print an error as a person (or a program) wants it, and exit with 1."""
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": kind, "message": error.message, "remedy": error.remedy}))
    else:
        print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
