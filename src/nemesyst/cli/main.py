"""The ``nemesyst`` command."""

from __future__ import annotations

import json
import sys

import typer

from nemesyst.errors import NemesystError

INTERRUPTED = 130

app = typer.Typer(
    name="nemesyst",
    help="Deep learning straight from your database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 not understood, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(arguments)
    except NemesystError as error:
        fail(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone (nemesyst ... | head)
        sys.stderr.close()
        sys.exit(1)


def fail(error: NemesystError, *, as_json: bool) -> None:
    """Print an error as a person (or a program) wants it, and exit with 1."""
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": kind, "message": error.message, "remedy": error.remedy}))  # noqa: T201
    else:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
