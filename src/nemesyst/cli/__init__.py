"""The command line: parse, call, print."""

from nemesyst.cli.command import Terminated
from nemesyst.cli.main import main

__all__ = ["Terminated", "main"]
