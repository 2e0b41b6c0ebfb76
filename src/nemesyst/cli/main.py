"""The ``nemesyst`` command."""

from __future__ import annotations

import io
import json
import sys
from typing import Annotated, NoReturn

import typer

import nemesyst
from nemesyst.cli import cache, db, feed, models, put, runs, stages
from nemesyst.errors import NemesystError

app = typer.Typer(
    name="nemesyst",
    help="Deep learning straight from your database.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: Rich would take a third of its time
    pretty_exceptions_enable=False,
)
app.add_typer(db.app, name="db")
stages.register(app)
put.register(app)
feed.register(app)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(cache.app, name="cache")


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Deep learning straight from your database."""
    if version:
        print(nemesyst.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())
    else:
        return
    raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 not understood, 130 interrupted, 143 terminated."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _print_anything()
    try:
        app(arguments)
    except NemesystError as error:
        fail(error, as_json="--json" in arguments)
    except BrokenPipeError:  # the reader of our output has gone (nemesyst ... | head)
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a disk that is full behind our output, a working folder that is gone
        fail(NemesystError(f"the system refuses: {error}", "Check the folder, its rights and its room."), as_json=False)


def _print_anything() -> None:
    """Let a name that is no text (a path of raw bytes), or that the terminal lacks letters for, be printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(error: NemesystError, *, as_json: bool) -> NoReturn:
    """Print an error as a person (or a program) wants it, and exit with 1."""
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": kind, "message": error.message, "remedy": error.remedy}))
    else:
        print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
