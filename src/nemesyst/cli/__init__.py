"""The command line: parse, call, print."""

from nemesyst.cli.main import main

__all__ = ["main"]
